package procname

import (
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// size is that of a name with the zero byte at its end (PR_SET_NAME, prctl(2)).
const size = 16

// Restore gives the process the name that it has by its argument vector, if it has a
// number for a name. It must be called by an init function: those run on the main thread,
// whose name is that of the process. Without the right to ask nothing changes.
func Restore(args []string) {
	var now [size]byte
	if prctl(unix.PR_GET_NAME, &now) != 0 || len(args) == 0 || !isNumber(unix.ByteSliceToString(now[:])) {
		return
	}
	var name [size]byte
	copy(name[:size-1], args[0][strings.LastIndexByte(args[0], '/')+1:])
	_ = prctl(unix.PR_SET_NAME, &name)
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// prctl does not wait, so Go need not be ready for that.
func prctl(option uintptr, name *[size]byte) unix.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_PRCTL, option, uintptr(unsafe.Pointer(name)), 0)
	return errno
}
