package worker

import (
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxName is how long the name of a thread may be, without the zero byte at its end
// (PR_SET_NAME, prctl(2)).
const maxName = 15

// init names the process where the master has executed it by the descriptor of its file.
// The kernel takes the name from the path then, which ends in the number of the
// descriptor. Init functions run on the main thread, whose name is that of the process.
func init() {
	var now [maxName + 1]byte
	if _, _, errno := unix.RawSyscall(unix.SYS_PRCTL, unix.PR_GET_NAME, uintptr(unsafe.Pointer(&now)), 0); errno != 0 {
		return
	}
	if !isNumber(unix.ByteSliceToString(now[:])) || len(os.Args) == 0 {
		return
	}
	var name [maxName + 1]byte
	copy(name[:maxName], programName())
	_, _, _ = unix.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name)), 0)
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
