//go:build amd64 || arm64

package confine

import "golang.org/x/sys/unix"

// plain are the calls that a confined worker may make as it likes.
var plain = [...]uint16{
	// The connection, the control channel and the pipes between.
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_SPLICE, unix.SYS_RECVFROM, unix.SYS_RECVMSG,
	unix.SYS_SHUTDOWN, unix.SYS_GETSOCKOPT, unix.SYS_CLOSE, unix.SYS_DUP3, unix.SYS_FSTAT,
	unix.SYS_PIPE2, unix.SYS_EVENTFD2, unix.SYS_PPOLL,
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT,

	// The runtime: memory, threads, time, signals to itself.
	unix.SYS_MUNMAP, unix.SYS_MADVISE, unix.SYS_BRK, unix.SYS_FUTEX, unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY,
	unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_GETPID, unix.SYS_GETTID, unix.SYS_GETRANDOM,
	unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_GETTIMEOFDAY,
	unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK,
	unix.SYS_RESTART_SYSCALL, unix.SYS_EXIT, unix.SYS_EXIT_GROUP,

	// The runtime looks at its CPU quota from time to time, in a file that it
	// has opened before (see the package documentation of worker).
	unix.SYS_PREAD64,

	// It can only take more rights away, and Apply has to.
	unix.SYS_LANDLOCK_RESTRICT_SELF,

	// Answered in a way of its own.
	unix.SYS_CLONE3,
}

// namespaces are the flags of clone(2) that leave the process's namespaces.
const namespaces = unix.CLONE_NEWCGROUP | unix.CLONE_NEWIPC | unix.CLONE_NEWNET | unix.CLONE_NEWNS |
	unix.CLONE_NEWPID | unix.CLONE_NEWUSER | unix.CLONE_NEWUTS

// checked are the calls that it may make in some ways and not in others.
var checked = [...]rule{
	// With MSG_FASTOPEN a send connects (tcp(7)).
	{unix.SYS_SENDTO, []check{{3, unix.MSG_FASTOPEN, []uint32{0}}}},
	{unix.SYS_SENDMSG, []check{{2, unix.MSG_FASTOPEN, []uint32{0}}}},
	{unix.SYS_SETSOCKOPT, []check{
		{1, everyBit, []uint32{unix.SOL_SOCKET}},
		{2, everyBit, []uint32{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO}},
	}},
	// F_SETOWN is not among these: it sends signals.
	{unix.SYS_FCNTL, []check{{1, everyBit, []uint32{
		unix.F_GETFD, unix.F_SETFD, unix.F_GETFL, unix.F_GETPIPE_SZ, unix.F_SETPIPE_SZ,
	}}}},
	{unix.SYS_MMAP, []check{{2, unix.PROT_EXEC, []uint32{0}}}},
	{unix.SYS_MPROTECT, []check{{2, unix.PROT_EXEC, []uint32{0}}}},
	// Threads, and no processes.
	{unix.SYS_CLONE, []check{{0, unix.CLONE_THREAD | namespaces, []uint32{unix.CLONE_THREAD}}}},
	{unix.SYS_TGKILL, []check{{0, everyBit, []uint32{self}}}},
	// The runtime names its memory for /proc/PID/maps.
	{unix.SYS_PRCTL, []check{{0, everyBit, []uint32{unix.PR_SET_VMA}}}},
}

func (f *filter) addRules() {
	for _, number := range plain {
		f.add(rule{number: number})
	}
	for _, number := range machineCalls {
		f.add(rule{number: number})
	}
	for _, r := range checked {
		f.add(r)
	}
}
