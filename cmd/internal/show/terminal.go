package show

import (
	"os"

	"golang.org/x/sys/unix"
)

// TerminalWidth returns how many columns a terminal has, and 0 for a file that
// is none or does not know. 0 is what Status takes for no limit.
func TerminalWidth(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}
