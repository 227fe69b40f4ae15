package process

import (
	"bytes"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// withoutAmbient runs f, which starts a process, on a thread that has no ambient
// capabilities (capabilities(7)).
//
// A service manager that lets the master do what its user may not, listen at a
// port below 1024 or change to other users, does it by ambient capabilities,
// and they pass to every program that is started, whatever user it runs as. The
// rights are the master's and no worker's. The master keeps them: the ambient
// set says nothing but what an exec leaves.
func withoutAmbient(f func() error) error {
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

// hasAmbient reports whether this process was started with ambient capabilities,
// which it never gives itself. What cannot be found out counts as yes.
var hasAmbient = sync.OnceValue(func() bool {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return true
	}
	_, rest, found := bytes.Cut(status, []byte("\nCapAmb:\t"))
	value, _, _ := bytes.Cut(rest, []byte("\n"))
	// Before Linux 4.3 there are none, and no line.
	return found && len(bytes.Trim(value, "0")) > 0
})
