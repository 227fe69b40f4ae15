package confine

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_AARCH64

// machineCalls are allowed calls that not every architecture has.
var machineCalls [0]uint16
