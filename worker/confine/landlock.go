package confine

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What there is to deny, as it grew: Linux 5.13 (ABI 1), 5.19, 6.2, 6.7 and
// 6.10 for files, 6.7 for TCP, 6.12 for what is reached by name.
const (
	filesV1 = unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1
	filesV2 = filesV1 | unix.LANDLOCK_ACCESS_FS_REFER
	filesV3 = filesV2 | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	filesV5 = filesV3 | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	filesV9 = filesV5 | unix.LANDLOCK_ACCESS_FS_RESOLVE_UNIX

	tcp     = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	udp     = unix.LANDLOCK_ACCESS_NET_BIND_UDP | unix.LANDLOCK_ACCESS_NET_CONNECT_SEND_UDP
	byName  = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
	signals = unix.LANDLOCK_SCOPE_SIGNAL
)

// rulesets are what a kernel may understand, the newest first. Nothing is
// allowed in any of them, so all that is named is denied.
var rulesets = [...]unix.LandlockRulesetAttr{
	{Handled_access_fs: filesV9, Handled_access_net: tcp | udp, Scoped: byName | signals},
	{Handled_access_fs: filesV9, Handled_access_net: tcp, Scoped: byName | signals},
	{Handled_access_fs: filesV5, Handled_access_net: tcp, Scoped: byName | signals},
	{Handled_access_fs: filesV5, Handled_access_net: tcp},
	{Handled_access_fs: filesV3, Handled_access_net: tcp},
	{Handled_access_fs: filesV3},
	{Handled_access_fs: filesV2},
	{Handled_access_fs: filesV1},
}

// rulesetSize is the part of the structure that is used. An older kernel takes
// it when what it does not know is zero.
const rulesetSize = unsafe.Offsetof(unix.LandlockRulesetAttr{}.Quiet_access_fs)

// newRuleset returns the descriptor of the strictest ruleset that the kernel
// understands. The caller owns it.
func newRuleset() (int, error) {
	for _, attr := range rulesets {
		if attr.Scoped&signals != 0 && !signalsWithin() {
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

// signalsWithin reports whether threads of one process may signal each other
// when each is in a domain of its own. The first kernels that could deny
// signals denied these too (erratum 2 of Landlock), and Go's runtime stops its
// threads by signals.
func signalsWithin() bool {
	errata, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_ERRATA)
	return errno == 0 && errata&(1<<1) != 0
}

// restrict puts the ruleset in force, for all threads if the kernel can do that
// by itself or all is set. inherited says that all threads have no_new_privs,
// not only this one.
func restrict(ruleset int, all, inherited bool) error {
	_, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), unix.LANDLOCK_RESTRICT_SELF_TSYNC, 0)
	if errno != unix.EINVAL {
		return asError(errno)
	}
	// The flag is not known before ABI 8.
	if !all && inherited {
		_, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), 0, 0)
		return asError(errno)
	}
	// The runtime has the means as long as no C code is linked that may have
	// started threads, else this is ENOTSUP.
	if !inherited {
		if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
			return asError(errno)
		}
	}
	_, _, errno = syscall.AllThreadsSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), 0, 0)
	return asError(errno)
}

// asError makes an error that is nil when there is none.
func asError(errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}
