package calltrace

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	ntPrstatus   = 1     // NT_PRSTATUS: the registers
	ntSystemCall = 0x404 // NT_ARM_SYSTEM_CALL: the number of the call
)

// skip has a thread that stands before a call not make it: the kernel knows no call of that
// number.
func skip(tid int) error {
	number := int32(-1)
	vector := unix.Iovec{Base: (*byte)(unsafe.Pointer(&number)), Len: 4}
	return ptrace(unix.PTRACE_SETREGSET, tid, ntSystemCall, unsafe.Pointer(&vector))
}

// setResult sets the result of the call that a thread has made.
func setResult(tid int, result int64) error {
	var r unix.PtraceRegsArm64
	if err := unix.PtraceGetRegSetArm64(tid, ntPrstatus, &r); err != nil {
		return err
	}
	r.Regs[0] = uint64(result)
	return unix.PtraceSetRegSetArm64(tid, ntPrstatus, &r)
}
