package process

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// A service manager gives the master rights that its user does not have by
// capabilities (capabilities(7)): to listen at a port below 1024, or to change to
// other users. They are meant for the master and for no worker, whatever user
// that runs as. An exec hands two sets of a thread on:
//
//   - the ambient set, to every program;
//   - the inheritable set, to a program whose file has inheritable capabilities.
//
// What is ambient is always inheritable, too.

// InheritsCapabilities reports whether a program that this thread executes may
// get capabilities of the thread. If the kernel does not tell, the answer is yes.
func InheritsCapabilities() bool {
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return true
	}
	return hasCapabilities(status)
}

// hasCapabilities reports whether the inheritable or the ambient set of a status
// file has members (proc_pid_status(5)). Linux before 4.3 has no ambient
// capabilities, and no such line.
func hasCapabilities(status []byte) bool {
	for _, name := range []string{"CapInh", "CapAmb"} {
		if strings.Trim(statusField(status, name), "0") != "" {
			return true
		}
	}
	return false
}

// ClearInheritable empties the inheritable set of the calling thread, and with it
// the ambient set (capset(2)). The thread keeps its own rights: both sets decide
// only what an exec hands on. The caller must have locked the goroutine to the
// thread and must never unlock it.
func ClearInheritable() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	sets[0].Inheritable, sets[1].Inheritable = 0, 0
	if err := unix.Capset(&header, &sets[0]); err != nil {
		return fmt.Errorf("clear inheritable capabilities: %w", err)
	}
	return nil
}

// ClearBounding empties the inheritable set of the calling thread as ClearInheritable
// does, and its bounding set (PR_CAPBSET_DROP, prctl(2)) if it may (CAP_SETPCAP): no
// exec of what the thread starts gains a capability then, not even one by user 0. The
// thread keeps its own rights.
func ClearBounding() error {
	for capability := uintptr(0); ; capability++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err != nil {
			break // EINVAL: there is no such capability; EPERM: it may not
		}
	}
	return ClearInheritable()
}
