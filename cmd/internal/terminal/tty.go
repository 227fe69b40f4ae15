package terminal

import (
	"os"

	"golang.org/x/sys/unix"
)

// isTerminal reports whether f is a terminal.
func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// sameTerminal reports whether two files are the same terminal.
func sameTerminal(a, b *os.File) bool {
	var x, y unix.Stat_t
	return isTerminal(a) && isTerminal(b) &&
		unix.Fstat(int(a.Fd()), &x) == nil && unix.Fstat(int(b.Fd()), &y) == nil && x.Rdev == y.Rdev
}

// A ttyState is the state in which a terminal was found and the one it has
// while lines are edited here. It travels to the sender as JSON.
type ttyState struct {
	Found, Editing unix.Termios
}

// editingFlags are what the kernel does for a line being typed.
const editingFlags = unix.ICANON | unix.ECHO

// readTTYState reads the state of a terminal and changes nothing. It returns
// nil for one whose line editing or echo is off already: somebody meant that,
// to send single keys or to type a secret.
func readTTYState(fd int) (*ttyState, error) {
	found, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, err
	}
	if found.Lflag&editingFlags != editingFlags {
		return nil, nil
	}
	s := &ttyState{Found: *found, Editing: *found}
	s.Editing.Lflag &^= editingFlags
	s.Editing.Cc[unix.VMIN], s.Editing.Cc[unix.VTIME] = 1, 0
	return s, nil
}

// edit prepares the terminal for editing, unless it is already.
func (s *ttyState) edit(fd int) error {
	now, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil || same(now, &s.Editing) {
		return err
	}
	return set(fd, &s.Editing)
}

// restore gives the terminal back. What somebody else has changed meanwhile is
// kept, and a terminal that was given to somebody else, most likely the shell,
// is left alone unless it still is in the very state that was set here.
func (s *ttyState) restore(fd int) error {
	now, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	if !same(now, &s.Editing) && (inBackground(fd) || now.Lflag&editingFlags != 0) {
		return nil
	}
	now.Lflag |= editingFlags
	now.Cc[unix.VMIN], now.Cc[unix.VTIME] = s.Found.Cc[unix.VMIN], s.Found.Cc[unix.VTIME]
	return set(fd, now)
}

// same leaves out c_cflag, of which kernels and emulators have their own ideas.
func same(a, b *unix.Termios) bool {
	return a.Iflag == b.Iflag && a.Oflag == b.Oflag && a.Lflag == b.Lflag && a.Cc == b.Cc
}

// set uses TCSETS, which takes effect at once: TCSETSW would wait for ever on a
// terminal whose output is stopped.
func set(fd int, state *unix.Termios) error { return unix.IoctlSetTermios(fd, unix.TCSETS, state) }

// inBackground reports whether the terminal belongs to another job of the shell
// at the moment. A terminal that is not this session's belongs to no job.
func inBackground(fd int) bool {
	group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	return err == nil && group != unix.Getpgrp()
}

// windowSize returns the columns and rows of a terminal, or 80 and 24 where it
// does not know them.
func windowSize(fd int) (columns, rows int) {
	size, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 || size.Row == 0 {
		return 80, 24
	}
	return int(size.Col), int(size.Row)
}
