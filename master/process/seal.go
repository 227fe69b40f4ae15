package process

import (
	"fmt"
	"math"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// SealDescriptors sets FD_CLOEXEC on every open descriptor above 2. Whoever
// started the master may have left it some without the flag, a shell's or a
// supervisor's, and each of them would turn up in every worker. Descriptors
// that Go opens have the flag already.
func SealDescriptors() error {
	err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	// Linux before 5.11 does not know the flag; a sandbox may not know the call.
	entries, dirErr := os.ReadDir("/proc/self/fd")
	if dirErr != nil {
		return fmt.Errorf("set FD_CLOEXEC on inherited descriptors: %w", err)
	}
	for _, entry := range entries {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd) // fails for the directory's own, which is closed by now
		}
	}
	return nil
}
