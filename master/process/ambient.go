package process

import (
	"os"
	"runtime"

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
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	if err != nil && err != unix.EINVAL { // before Linux 4.3 there are none
		return os.NewSyscallError("prctl", err)
	}
	return f()
}
