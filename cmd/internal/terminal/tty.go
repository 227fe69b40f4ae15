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

// A ttyState has the original modes of a terminal and the modes during editing. The
// receiver sends it to the sender as JSON.
type ttyState struct {
	Original, Editing unix.Termios
}

// editingFlags are the flags of the kernel's line editing and echo.
const editingFlags = unix.ICANON | unix.ECHO

// readTTYState reads the modes of a terminal and changes nothing. It returns nil for a
// terminal whose line editing or echo is already off. A user has done that on purpose,
// to send single keys or to type a secret.
func readTTYState(fd int) (*ttyState, error) {
	found, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, err
	}
	if found.Lflag&editingFlags != editingFlags {
		return nil, nil
	}
	s := &ttyState{Original: *found, Editing: *found}
	s.Editing.Lflag &^= editingFlags
	s.Editing.Cc[unix.VMIN], s.Editing.Cc[unix.VTIME] = 1, 0
	return s, nil
}

// enterEditing sets the modes for editing, unless they are already set.
func (s *ttyState) enterEditing(fd int) error {
	now, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil || sameModes(now, &s.Editing) {
		return err
	}
	return setModes(fd, &s.Editing)
}

// restore restores the terminal's modes. It keeps changes of other programs. A terminal
// that now belongs to another program, most likely the shell, is left alone. The
// exception is a terminal that is still in the exact editing modes.
func (s *ttyState) restore(fd int) error {
	now, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	if !sameModes(now, &s.Editing) && (inBackground(fd) || now.Lflag&editingFlags != 0) {
		return nil
	}
	now.Lflag |= editingFlags
	now.Cc[unix.VMIN], now.Cc[unix.VTIME] = s.Original.Cc[unix.VMIN], s.Original.Cc[unix.VTIME]
	return setModes(fd, now)
}

// sameModes ignores c_cflag, which kernels and emulators change themselves.
func sameModes(a, b *unix.Termios) bool {
	return a.Iflag == b.Iflag && a.Oflag == b.Oflag && a.Lflag == b.Lflag && a.Cc == b.Cc
}

// setModes uses TCSETS, which takes effect at once. TCSETSW would wait for ever on a
// terminal whose output is stopped.
func setModes(fd int, state *unix.Termios) error { return unix.IoctlSetTermios(fd, unix.TCSETS, state) }

// inBackground reports whether the terminal currently belongs to another job of the
// shell. A terminal of another session belongs to no job.
func inBackground(fd int) bool {
	group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	return err == nil && group != unix.Getpgrp()
}

// windowSize returns the columns and rows of a terminal. It returns 80 and 24 when the
// terminal does not know them.
func windowSize(fd int) (columns, rows int) {
	size, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 || size.Row == 0 {
		return 80, 24
	}
	return int(size.Col), int(size.Row)
}
