package calltrace

import "golang.org/x/sys/unix"

// skip has a thread that stands before a call not make it: the kernel knows no call of that
// number.
func skip(tid int) error {
	return setRegisters(tid, func(r *unix.PtraceRegs) { r.Orig_rax = ^uint64(0) })
}

// setResult sets the result of the call that a thread has made.
func setResult(tid int, result int64) error {
	return setRegisters(tid, func(r *unix.PtraceRegs) { r.Rax = uint64(result) })
}

func setRegisters(tid int, set func(*unix.PtraceRegs)) error {
	var r unix.PtraceRegs
	if err := unix.PtraceGetRegs(tid, &r); err != nil {
		return err
	}
	set(&r)
	return unix.PtraceSetRegs(tid, &r)
}
