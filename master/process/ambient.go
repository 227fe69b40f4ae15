package process

import (
	"bytes"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// dropAmbient runs f, which starts a process, on a thread without ambient
// capabilities (capabilities(7)).
//
// A service manager gives the master rights that its user does not have by
// ambient capabilities. With them it can listen at a port below 1024, or change
// to other users. Every program that the master starts would inherit these
// capabilities, whatever user it runs as. They are meant for the master and for
// no worker. The master keeps its rights: the ambient set decides only what an
// exec preserves.
func dropAmbient(f func() error) error {
	if !hasAmbient() {
		return f()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	return f()
}

// hasAmbient reports whether this process was started with ambient
// capabilities. The master never adds any itself. If the kernel does not tell,
// the answer is yes.
var hasAmbient = sync.OnceValue(func() bool {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return true
	}
	_, rest, found := bytes.Cut(status, []byte("\nCapAmb:\t"))
	value, _, _ := bytes.Cut(rest, []byte("\n"))
	// Linux before 4.3 has no ambient capabilities, and no such line.
	return found && len(bytes.Trim(value, "0")) > 0
})
