package statusview

import (
	"os"

	"golang.org/x/sys/unix"
)

// TerminalWidth returns the number of columns of a terminal. It returns 0 for a file
// that is no terminal, or whose width is unknown. Write takes 0 as no limit.
func TerminalWidth(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}
