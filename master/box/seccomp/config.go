package seccomp

import "github.com/preforkd/preforkd/master/box/syscalls"

// An Action says what becomes of a call that the policy denies.
type Action uint8

const (
	Errno Action = iota // the call returns EPERM
	Kill                // SIGSYS ends the process
	Log                 // the call is allowed, and without a Notice the kernel's audit log has a line
)

// A Notice says of which calls the holder of the filter's listener is told
// (seccomp_unotify(2)). They wait for its answer, and fail with ENOSYS once it is gone.
type Notice uint8

const (
	NoNotice Notice = iota
	// NoticeDenied is for the calls that Action is about, with Kill and Log, in place of
	// what the kernel does. The program is the same otherwise.
	NoticeDenied
	// NoticeAll is for all calls that could be denied, and for those of them that are. The
	// holder decides, by the program of NoticeDenied (Judge). Calls of another
	// architecture and calls that the tables of package syscalls do not know are
	// treated as with NoticeDenied. Of systemd's set @default, which any list of what is
	// allowed has, only calls are told of that a restriction could be about.
	NoticeAll
)

// A Config is what a box says of system calls. The zero Config denies only calls of
// another architecture, and calls that are newer than the tables of package syscalls.
type Config struct {
	// Policy says which calls are allowed. Nil allows all.
	Policy *syscalls.Policy
	Action Action
	Notice Notice

	// RestrictNamespaces forbids to create and to enter namespaces.
	RestrictNamespaces bool
	// RestrictParents forbids to make children of the parent (CLONE_PARENT, clone(2)).
	RestrictParents bool
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
	// is none of their arguments, and with a Notice dup3 and sendmsg (see the package
	// documentation). 0 allows nothing.
	Cookie uint64
}
