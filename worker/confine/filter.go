//go:build amd64 || arm64

package confine

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A filter is being translated from rules. It is a program of the classic BPF
// machine, which sees the number, the architecture and the arguments of a
// system call and returns what becomes of it (seccomp(2), and
// Documentation/networking/filter.rst in the kernel's source).
//
// Every worker pays for its translation and installation at its start, and two
// things decide how much. The kernel runs the program for each number there is
// to learn which ones it lets through without a look at the arguments, so the
// number is searched for in halves. And each page that is touched for the
// first time is a fault, so the heap is not used.
type filter struct {
	code   [maxCode]unix.SockFilter
	length int
	rules  [maxRules]rule // by ascending number
	count  int
}

// Bounds of a filter. Jumps reach 255 instructions far.
const (
	maxCode  = 250
	maxRules = 80
)

// Where a jump goes that ends the search, until translate knows how far that is.
const (
	toAllow = 254
	toDeny  = 255
)

// A rule lets one system call through, with such arguments only as pass all of
// the checks.
type rule struct {
	number uint16
	checks []check
}

// A check looks at the lower half of one argument, from 0: those that are
// looked at are ints or flags to the kernel, which ignores the upper half too.
// It passes when the argument, masked, is one of the values.
type check struct {
	argument uint8
	mask     uint32
	values   []uint32
}

// everyBit is the mask of a check that looks at the whole.
const everyBit = 1<<32 - 1

// self among the values stands for the process's own pid.
const self = everyBit

// Offsets in struct seccomp_data.
const (
	offsetNumber    = 0
	offsetArch      = 4
	offsetArguments = 16 // six of 8 bytes, the lower half first on these machines
)

const (
	allow = unix.SECCOMP_RET_ALLOW
	deny  = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	// The C library takes this answer to clone3, whose flags lie in memory
	// where no filter sees them, for "use clone".
	absent = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
)

// add inserts a rule in its place.
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

func (f *filter) load(offset uint32) { f.emit(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, offset, 0, 0) }

// ifEqual skips so many instructions when what was loaded is k, or is not.
func (f *filter) ifEqual(k uint32, yes, no int) {
	f.emit(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, k, yes, no)
}

func (f *filter) ret(action uint32) { f.emit(unix.BPF_RET|unix.BPF_K, action, 0, 0) }

// translate makes the program. A number without a rule is denied, and so is
// one with the bit of the x32 ABI, which is like no other number.
func (f *filter) translate(arch uint32) {
	f.load(offsetArch)
	f.ifEqual(arch, 1, 0)
	// Numbers mean other calls there than in the rules.
	f.ret(unix.SECCOMP_RET_KILL_PROCESS)
	f.load(offsetNumber)
	f.search(f.rules[:f.count])
	end := f.length
	f.ret(deny)
	f.ret(allow)
	for i := range f.code[:end] {
		// Not every instruction is a jump, but only jumps have these.
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

// search continues with the rule for the number that was loaded.
func (f *filter) search(rules []rule) {
	if len(rules) > 2 {
		half := len(rules) / 2
		branch := f.length
		f.emit(unix.BPF_JMP|unix.BPF_JGE|unix.BPF_K, uint32(rules[half].number), 0, 0)
		f.search(rules[:half])
		f.code[branch].Jt = uint8(f.length - branch - 1)
		f.search(rules[half:])
		return
	}
	for i, r := range rules {
		last := i == len(rules)-1
		branch := f.length
		switch {
		case len(r.checks) > 0 || r.number == unix.SYS_CLONE3:
			f.ifEqual(uint32(r.number), 0, toDeny)
			f.decide(r)
			if !last {
				f.code[branch].Jf = uint8(f.length - branch - 1)
			}
		case last:
			f.ifEqual(uint32(r.number), toAllow, toDeny)
		default:
			f.ifEqual(uint32(r.number), toAllow, 0)
		}
	}
}

// decide returns what becomes of the call that a rule is for.
func (f *filter) decide(r rule) {
	if r.number == unix.SYS_CLONE3 {
		f.ret(absent)
		return
	}
	for _, c := range r.checks {
		f.load(offsetArguments + 8*uint32(c.argument))
		if c.mask != everyBit {
			f.emit(unix.BPF_ALU|unix.BPF_AND|unix.BPF_K, c.mask, 0, 0)
		}
		for i, v := range c.values {
			if v == self {
				v = uint32(os.Getpid())
			}
			if left := len(c.values) - 1 - i; left > 0 {
				f.ifEqual(v, left, 0)
			} else {
				f.ifEqual(v, 0, toDeny)
			}
		}
	}
	f.ret(allow)
}

// installed is the filter of this process, in memory that needs no heap.
var installed filter

// installFilter puts the filter in force for all threads. The calling thread
// has no_new_privs, and all others have it afterwards.
func installFilter() error {
	f := &installed
	f.addRules()
	f.translate(auditArch)
	prog := unix.SockFprog{Len: uint16(f.length), Filter: &f.code[0]}
	const flags = unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_LOG
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return errno // ENOSYS: not built in; EINVAL: older than Linux 4.14
	}
	if thread != 0 {
		return errDiverged
	}
	return nil
}
