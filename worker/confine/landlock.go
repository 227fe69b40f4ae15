package confine

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// These are the rights that a Landlock domain can deny, by kernel version. File rights
// came with Linux 5.13 (ABI 1), 5.19, 6.2, 6.7 and 6.10, TCP rights with 6.7. Scopes
// came with 6.12.
const (
	filesV1 = unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1
	filesV2 = filesV1 | unix.LANDLOCK_ACCESS_FS_REFER
	filesV3 = filesV2 | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	filesV5 = filesV3 | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	filesV9 = filesV5 | unix.LANDLOCK_ACCESS_FS_RESOLVE_UNIX

	tcp             = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	udp             = unix.LANDLOCK_ACCESS_NET_BIND_UDP | unix.LANDLOCK_ACCESS_NET_CONNECT_SEND_UDP
	abstractSockets = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
	signals         = unix.LANDLOCK_SCOPE_SIGNAL
)

// rulesets are the rulesets that a kernel may understand, the newest first. They
// contain no rule that allows anything, so every listed right is denied.
var rulesets = [...]unix.LandlockRulesetAttr{
	{Handled_access_fs: filesV9, Handled_access_net: tcp | udp, Scoped: abstractSockets | signals},
	{Handled_access_fs: filesV9, Handled_access_net: tcp, Scoped: abstractSockets | signals},
	{Handled_access_fs: filesV5, Handled_access_net: tcp, Scoped: abstractSockets | signals},
	{Handled_access_fs: filesV5, Handled_access_net: tcp},
	{Handled_access_fs: filesV3, Handled_access_net: tcp},
	{Handled_access_fs: filesV3},
	{Handled_access_fs: filesV2},
	{Handled_access_fs: filesV1},
}

// rulesetSize is the size of the used part of the structure. An older kernel accepts it
// when the fields that it does not know are zero.
const rulesetSize = unsafe.Offsetof(unix.LandlockRulesetAttr{}.Quiet_access_fs)

// newRuleset returns the descriptor of the strictest ruleset that the kernel
// understands. The caller owns it.
func newRuleset() (int, error) {
	for _, attr := range rulesets {
		if attr.Scoped&signals != 0 && !canSignalOwnThreads() {
			attr.Scoped &^= signals
		}
		fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), rulesetSize, 0)
		switch errno {
		case 0:
			return int(fd), nil
		case unix.EINVAL, unix.E2BIG:
			continue
		}
		return -1, errno // ENOSYS: not built in; EOPNOTSUPP: not enabled
	}
	return -1, unix.EINVAL
}

// canSignalOwnThreads reports whether threads of one process may signal each other when
// each has its own domain. The first kernels that could deny signals denied these too
// (erratum 2 of Landlock). Go's runtime stops its threads with signals.
func canSignalOwnThreads() bool {
	errata, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_ERRATA)
	return errno == 0 && errata&(1<<1) != 0
}

// enterDomain applies the ruleset. It applies it to all threads if the kernel can do
// that itself or if allThreads is set. allNoNewPrivs says that all threads have
// no_new_privs, and not only this one.
func enterDomain(ruleset int, allThreads, allNoNewPrivs bool) error {
	_, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), unix.LANDLOCK_RESTRICT_SELF_TSYNC, 0)
	if errno != unix.EINVAL {
		return asError(errno)
	}
	// Kernels before ABI 8 do not know the flag.
	if !allThreads && allNoNewPrivs {
		_, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), 0, 0)
		return asError(errno)
	}
	// The runtime can run a call on all threads only if no C code is linked. Otherwise
	// it returns ENOTSUP, because C code may have started threads.
	if !allNoNewPrivs {
		if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
			return asError(errno)
		}
	}
	_, _, errno = syscall.AllThreadsSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), 0, 0)
	return asError(errno)
}

// asError returns errno as an error, and nil for 0.
func asError(errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}
