package seccomp

import "github.com/preforkd/preforkd/master/box/syscalls"

// An Action says what becomes of a call that the policy denies.
type Action uint8

const (
	Errno Action = iota // the call returns EPERM
	Kill                // SIGSYS ends the process
	Log                 // the call is allowed, and the kernel's audit log has a line
)

// A Config is what a box says of system calls. The zero Config denies only calls of
// another architecture, and calls that are newer than the tables of package syscalls.
type Config struct {
	// Policy says which calls are allowed. Nil allows all.
	Policy *syscalls.Policy
	Action Action

	// RestrictNamespaces forbids to create and to enter namespaces.
	RestrictNamespaces bool
	// RestrictRealtime forbids scheduling policies but SCHED_OTHER, SCHED_BATCH and
	// SCHED_IDLE.
	RestrictRealtime bool
	// RestrictSUIDSGID forbids to give a file the set-user-ID or set-group-ID bit.
	RestrictSUIDSGID bool
	// LockPersonality forbids to change the execution domain (personality(2)) to
	// anything but PER_LINUX.
	LockPersonality bool
	// MemoryDenyWriteExecute forbids memory that is writable and executable, and to
	// make memory executable. A program can still map a file that it has written,
	// and a memfd is one.
	MemoryDenyWriteExecute bool
	// AddressFamilies holds the families of new sockets (AF_UNIX and so on). Nil
	// allows any, and an empty list allows none. Sockets that a process has or is
	// given are not affected.
	AddressFamilies []int

	// Cookie allows execve, execveat, write and exit_group when a register holds it that
	// is none of their arguments (see the package documentation). 0 allows nothing.
	Cookie uint64
}
