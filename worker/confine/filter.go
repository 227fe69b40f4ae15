//go:build amd64 || arm64

package confine

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A filter is a seccomp program that is built from rules. The program runs on the
// classic BPF machine. It sees the number, the architecture and the arguments of a
// system call, and returns the action (seccomp(2), and
// Documentation/networking/filter.rst in the kernel's source).
//
// Every worker builds and installs the program at its start. Two things decide the
// cost. First, the kernel runs the program once per call number, to find the numbers
// that are allowed without a check of arguments. The program therefore uses a binary
// search. Second, each newly touched page costs a page fault, so the heap is not used.
type filter struct {
	code   [maxCode]unix.SockFilter
	length int
	rules  [maxRules]rule // by ascending call number
	count  int
}

// These are the bounds of a filter. A jump reaches 255 instructions at most.
const (
	maxCode  = 250
	maxRules = 80
)

// These are placeholders for jumps that end the search. translate replaces them with
// distances.
const (
	toAllow = 254
	toDeny  = 255
)

// A rule allows one system call when its arguments pass all checks.
type rule struct {
	number uint16
	checks []check
}

// A check compares the lower half of one argument, counted from 0. The checked
// arguments are ints or flags, and the kernel also ignores their upper half. The check
// passes when the masked argument is one of the values.
type check struct {
	argument uint8
	mask     uint32
	values   []uint32
}

// allBits is the mask of a check of the whole argument.
const allBits = 1<<32 - 1

// ownPID in values stands for the process's own pid.
const ownPID = allBits

// Offsets in struct seccomp_data.
const (
	offsetNumber    = 0
	offsetArch      = 4
	offsetArguments = 16 // six arguments of 8 bytes, the lower half first on these machines
)

const (
	allow = unix.SECCOMP_RET_ALLOW
	deny  = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	// For clone3 the C library takes ENOSYS as "use clone". The flags of clone3 are in
	// memory, where a filter cannot see them.
	notImplemented = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
)

// add inserts a rule and keeps the order.
func (f *filter) add(r rule) {
	at := f.count
	for ; at > 0 && f.rules[at-1].number > r.number; at-- {
		f.rules[at] = f.rules[at-1]
	}
	f.rules[at] = r
	f.count++
}

func (f *filter) emit(code uint16, k uint32, yes, no int) {
	f.code[f.length] = unix.SockFilter{Code: code, Jt: uint8(yes), Jf: uint8(no), K: k}
	f.length++
}

func (f *filter) emitLoad(offset uint32) { f.emit(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, offset, 0, 0) }

// emitIfEqual skips yes instructions when the loaded value is k. Otherwise it skips no
// instructions.
func (f *filter) emitIfEqual(k uint32, yes, no int) {
	f.emit(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, k, yes, no)
}

func (f *filter) emitReturn(action uint32) { f.emit(unix.BPF_RET|unix.BPF_K, action, 0, 0) }

// translate builds the program. A call number without a rule is denied. Numbers of the
// x32 ABI have an extra bit, so no rule matches them.
func (f *filter) translate(arch uint32) {
	f.emitLoad(offsetArch)
	f.emitIfEqual(arch, 1, 0)
	// On another architecture the numbers mean other calls.
	f.emitReturn(unix.SECCOMP_RET_KILL_PROCESS)
	f.emitLoad(offsetNumber)
	f.emitSearch(f.rules[:f.count])
	end := f.length
	f.emitReturn(deny)
	f.emitReturn(allow)
	for i := range f.code[:end] {
		// Other instructions never contain the placeholder values.
		for _, to := range []*uint8{&f.code[i].Jt, &f.code[i].Jf} {
			switch *to {
			case toDeny:
				*to = uint8(end - i - 1)
			case toAllow:
				*to = uint8(end - i)
			}
		}
	}
}

// emitSearch emits a binary search for the rule of the loaded number.
func (f *filter) emitSearch(rules []rule) {
	if len(rules) > 2 {
		middle := len(rules) / 2
		branch := f.length
		f.emit(unix.BPF_JMP|unix.BPF_JGE|unix.BPF_K, uint32(rules[middle].number), 0, 0)
		f.emitSearch(rules[:middle])
		f.code[branch].Jt = uint8(f.length - branch - 1)
		f.emitSearch(rules[middle:])
		return
	}
	for i, r := range rules {
		last := i == len(rules)-1
		branch := f.length
		switch {
		case len(r.checks) > 0 || r.number == unix.SYS_CLONE3:
			f.emitIfEqual(uint32(r.number), 0, toDeny)
			f.emitRule(r)
			if !last {
				f.code[branch].Jf = uint8(f.length - branch - 1)
			}
		case last:
			f.emitIfEqual(uint32(r.number), toAllow, toDeny)
		default:
			f.emitIfEqual(uint32(r.number), toAllow, 0)
		}
	}
}

// emitRule emits the checks and the action of one rule.
func (f *filter) emitRule(r rule) {
	if r.number == unix.SYS_CLONE3 {
		f.emitReturn(notImplemented)
		return
	}
	for _, c := range r.checks {
		f.emitLoad(offsetArguments + 8*uint32(c.argument))
		if c.mask != allBits {
			f.emit(unix.BPF_ALU|unix.BPF_AND|unix.BPF_K, c.mask, 0, 0)
		}
		for i, v := range c.values {
			if v == ownPID {
				v = uint32(os.Getpid())
			}
			if left := len(c.values) - 1 - i; left > 0 {
				f.emitIfEqual(v, left, 0)
			} else {
				f.emitIfEqual(v, 0, toDeny)
			}
		}
	}
	f.emitReturn(allow)
}

// processFilter is the filter of this process. It is a global variable, so it needs no
// heap.
var processFilter filter

// installFilter applies the filter to all threads. The calling thread must have
// no_new_privs. Afterwards all threads have it.
func installFilter() error {
	f := &processFilter
	f.addRules()
	f.translate(auditArch)
	prog := unix.SockFprog{Len: uint16(f.length), Filter: &f.code[0]}
	const flags = unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_LOG
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return errno // ENOSYS: not built in; EINVAL: older than Linux 4.14
	}
	if thread != 0 {
		return errThreadFilter
	}
	return nil
}
