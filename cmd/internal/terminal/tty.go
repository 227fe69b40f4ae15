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

// readTTYState reads the state of a terminal and changes nothing.
func readTTYState(fd int) (*ttyState, error) {
	found, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, err
	}
	s := &ttyState{Found: *found, Editing: *found}
	s.Editing.Lflag &^= unix.ICANON | unix.ECHO
	s.Editing.Cc[unix.VMIN], s.Editing.Cc[unix.VTIME] = 1, 0
	return s, nil
}

// edit prepares the terminal for editing, if it is in the state in which it
// was found.
func (s *ttyState) edit(fd int) error { return change(fd, &s.Found, &s.Editing) }

// restore gives the terminal back. One that is no longer in the editing state
// was changed by somebody else, most likely the shell that got it back, and is
// left alone.
func (s *ttyState) restore(fd int) error { return change(fd, &s.Editing, &s.Found) }

// change uses TCSETS, which takes effect at once: TCSETSW would wait for ever
// on a terminal whose output is stopped.
func change(fd int, from, to *unix.Termios) error {
	now, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	if now.Iflag != from.Iflag || now.Oflag != from.Oflag || now.Lflag != from.Lflag || now.Cc != from.Cc {
		return nil
	}
	return unix.IoctlSetTermios(fd, unix.TCSETS, to)
}

// inForeground reports whether this process may change the terminal without
// being stopped by SIGTTOU.
func inForeground(fd int) bool {
	group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
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
