package confine

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_X86_64

// machineCalls are allowed calls that not every architecture has.
var machineCalls = [...]uint16{unix.SYS_POLL, unix.SYS_EPOLL_WAIT}
