//go:build amd64 || arm64

package confine

import "golang.org/x/sys/unix"

// allowedCalls are the calls that a confined worker may make with any arguments.
var allowedCalls = [...]uint16{
	// These serve the connection, the control channel and the pipes.
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_SPLICE, unix.SYS_RECVFROM, unix.SYS_RECVMSG,
	unix.SYS_SHUTDOWN, unix.SYS_GETSOCKOPT, unix.SYS_CLOSE, unix.SYS_DUP3, unix.SYS_FSTAT,
	unix.SYS_PIPE2, unix.SYS_EVENTFD2, unix.SYS_PPOLL,
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT,

	// The runtime needs these for memory, threads, time and signals to itself.
	unix.SYS_MUNMAP, unix.SYS_MADVISE, unix.SYS_BRK, unix.SYS_FUTEX, unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY,
	unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_GETPID, unix.SYS_GETTID, unix.SYS_GETRANDOM,
	unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_GETTIMEOFDAY,
	unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK,
	unix.SYS_RESTART_SYSCALL, unix.SYS_EXIT, unix.SYS_EXIT_GROUP,

	// The runtime reads its CPU quota from time to time. It has opened the file before
	// (see the package documentation of worker).
	unix.SYS_PREAD64,

	// This call can only remove rights, and Apply needs it after the filter.
	unix.SYS_LANDLOCK_RESTRICT_SELF,

	// The filter answers this call with ENOSYS.
	unix.SYS_CLONE3,
}

// namespaceFlags are the flags of clone(2) that create namespaces.
const namespaceFlags = unix.CLONE_NEWCGROUP | unix.CLONE_NEWIPC | unix.CLONE_NEWNET | unix.CLONE_NEWNS |
	unix.CLONE_NEWPID | unix.CLONE_NEWUSER | unix.CLONE_NEWUTS

// restrictedCalls are the calls that a confined worker may make with certain arguments
// only.
var restrictedCalls = [...]rule{
	// With MSG_FASTOPEN, a send also connects (tcp(7)).
	{unix.SYS_SENDTO, []check{{3, unix.MSG_FASTOPEN, []uint32{0}}}},
	{unix.SYS_SENDMSG, []check{{2, unix.MSG_FASTOPEN, []uint32{0}}}},
	{unix.SYS_SETSOCKOPT, []check{
		{1, allBits, []uint32{unix.SOL_SOCKET}},
		{2, allBits, []uint32{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO}},
	}},
	// F_SETOWN is missing on purpose, because it sends signals.
	{unix.SYS_FCNTL, []check{{1, allBits, []uint32{
		unix.F_GETFD, unix.F_SETFD, unix.F_GETFL, unix.F_GETPIPE_SZ, unix.F_SETPIPE_SZ,
	}}}},
	{unix.SYS_MMAP, []check{{2, unix.PROT_EXEC, []uint32{0}}}},
	{unix.SYS_MPROTECT, []check{{2, unix.PROT_EXEC, []uint32{0}}}},
	// Clone may create threads but no processes.
	{unix.SYS_CLONE, []check{{0, unix.CLONE_THREAD | namespaceFlags, []uint32{unix.CLONE_THREAD}}}},
	{unix.SYS_TGKILL, []check{{0, allBits, []uint32{ownPID}}}},
	// The runtime names its memory areas for /proc/PID/maps.
	{unix.SYS_PRCTL, []check{{0, allBits, []uint32{unix.PR_SET_VMA}}}},
}

func (f *filter) addRules() {
	for _, number := range allowedCalls {
		f.add(rule{number: number})
	}
	for _, number := range machineCalls {
		f.add(rule{number: number})
	}
	for _, r := range restrictedCalls {
		f.add(r)
	}
}
