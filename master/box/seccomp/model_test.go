package seccomp

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/preforkd/preforkd/master/box/syscalls"
)

// A machine runs a program as the kernel does.
type machine struct{ vm *bpf.VM }

func newMachine(t interface{ Fatalf(string, ...any) }, code []unix.SockFilter) machine {
	raw := make([]bpf.RawInstruction, len(code))
	for i, c := range code {
		raw[i] = bpf.RawInstruction{Op: c.Code, Jt: c.Jt, Jf: c.Jf, K: c.K}
	}
	instructions, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatalf("an instruction is not known: %v", instructions)
	}
	vm, err := bpf.NewVM(instructions)
	if err != nil {
		t.Fatalf("the program is wrong: %v", err)
	}
	return machine{vm}
}

// run returns the action for a call. The virtual machine loads words in network order, so
// it gets the words of struct seccomp_data in that order.
func (m machine) run(t interface{ Fatalf(string, ...any) }, arch, number uint32, args [6]uint64) uint32 {
	data := make([]byte, 64)
	binary.BigEndian.PutUint32(data[0:], number)
	binary.BigEndian.PutUint32(data[4:], arch)
	for i, a := range args {
		binary.BigEndian.PutUint32(data[16+8*i:], uint32(a))
		binary.BigEndian.PutUint32(data[20+8*i:], uint32(a>>32))
	}
	action, err := m.vm.Run(data)
	if err != nil {
		t.Fatalf("run: %v", err)
	}
	return uint32(action)
}

const (
	actionEPERM  = 0x00050000 | 1
	actionENOSYS = 0x00050000 | 38
	actionFamily = 0x00050000 | 97
	actionKill   = 0x80000000
	actionLog    = 0x7ffc0000
	actionAllow  = 0x7fff0000
	actionNotify = 0x7fc00000
)

// names returns the names of the calls of each architecture by their numbers.
var names = sync.OnceValue(func() map[string]map[uint32]string {
	names := map[string]map[uint32]string{}
	for goarch := range auditArch {
		names[goarch] = map[uint32]string{}
		for _, number := range syscalls.Numbers(goarch) {
			names[goarch][uint32(number)], _ = syscalls.Name(goarch, number)
		}
	}
	return names
})

// model says what becomes of a call, with whoever is told of it.
func model(c *Config, goarch string, arch, number uint32, args [6]uint64) uint32 {
	action := modelKernel(c, goarch, arch, number, args)
	name := names()[goarch][number]
	native := arch == map[string]uint32{"amd64": 0xc000003e, "arm64": 0xc00000b7}[goarch]
	if c.Notice == NoNotice {
		return action
	}
	if native && modelCookie(c, name, args, "execve", "write", "exit_group", "dup3", "sendmsg") {
		if c.Notice == NoticeAll || name == "dup3" || name == "sendmsg" {
			return actionAllow
		}
	}
	if action == actionKill || action == actionLog {
		action = actionNotify
	}
	if c.Notice == NoticeDenied || !native || name == "" {
		return action
	}
	all := Config{RestrictNamespaces: true, RestrictRealtime: true, RestrictSUIDSGID: true, LockPersonality: true, MemoryDenyWriteExecute: true, AddressFamilies: []int{}}
	always, _ := syscalls.Set("@default")
	if slices.Contains(always, name) && (c.Policy == nil || c.Policy.Decide(name) == syscalls.Allowed) && modelRestrictions(&all, name, args) == 0 {
		return actionAllow
	}
	return actionNotify
}

// modelCookie reports whether a call has the cookie: execveat in its sixth register, and calls of these
// names in the fourth.
func modelCookie(c *Config, name string, args [6]uint64, fourth ...string) bool {
	return c.Cookie != 0 && (args[3] == c.Cookie && slices.Contains(fourth, name) || args[5] == c.Cookie && name == "execveat")
}

// modelKernel says what becomes of a call if nobody is told, written down in the simplest
// way, with the numbers of the manual pages.
func modelKernel(c *Config, goarch string, arch, number uint32, args [6]uint64) uint32 {
	foreign := uint32(actionENOSYS)
	if c.Action == Kill {
		foreign = actionKill
	}
	if arch != map[string]uint32{"amd64": 0xc000003e, "arm64": 0xc00000b7}[goarch] {
		return foreign
	}
	if number == 0xffffffff {
		return actionAllow
	}
	if goarch == "amd64" && (number >= 0x40000000 || number >= 512 && number <= 547) {
		return foreign
	}
	name, found := names()[goarch][number]
	if !found {
		return actionENOSYS
	}
	if modelCookie(c, name, args, "execve", "write", "exit_group") {
		return actionAllow
	}
	passed := uint32(actionAllow)
	if c.Policy != nil {
		switch d := c.Policy.Decide(name); {
		case d == syscalls.Allowed:
		case c.Action == Log:
			passed = actionLog
		case d == syscalls.Unknown:
			return actionENOSYS
		case c.Action == Kill:
			return actionKill
		default:
			return actionEPERM
		}
	}
	if action := modelRestrictions(c, name, args); action != 0 {
		return action
	}
	return passed
}

// modelRestrictions returns the action for a call whose arguments are forbidden, or 0.
func modelRestrictions(c *Config, name string, args [6]uint64) uint32 {
	const suid, sgid = 0o4000, 0o2000
	setID := func(mode uint64) bool { return mode&suid != 0 || mode&sgid != 0 }
	creates := func(flags uint64) bool { return flags&0o100 != 0 || flags&0o20000000 != 0 }
	deny := func(denied bool) uint32 {
		if denied {
			return actionEPERM
		}
		return 0
	}
	if c.RestrictParents {
		switch name {
		case "clone3":
			return actionENOSYS
		case "clone":
			if args[0]&0x8000 != 0 {
				return actionEPERM
			}
		}
	}
	if c.RestrictNamespaces {
		switch name {
		case "clone3":
			return actionENOSYS
		case "setns":
			return actionEPERM
		case "clone":
			for _, flag := range []uint64{0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000, 0x00020000} {
				if args[0]&flag != 0 {
					return actionEPERM
				}
			}
		case "unshare":
			for bit := range 64 {
				harmless := slices.Contains([]uint64{0x100, 0x200, 0x400, 0x800, 0x10000, 0x40000}, 1<<bit)
				if args[0]&(1<<bit) != 0 && !harmless {
					return actionEPERM
				}
			}
		case "open_tree", "open_tree_attr":
			return deny(args[2]&2 != 0)
		case "fsmount":
			return deny(args[1]&2 != 0)
		}
	}
	if c.RestrictRealtime {
		switch name {
		case "sched_setattr":
			return actionENOSYS
		case "sched_setscheduler":
			policy := uint32(args[1])
			if policy >= 0x40000000 && policy < 0x80000000 || policy >= 0xc0000000 {
				policy -= 0x40000000
			}
			return deny(policy != 0 && policy != 3 && policy != 5)
		}
	}
	if c.RestrictSUIDSGID {
		switch name {
		case "chmod", "fchmod", "mkdir", "mknod", "creat":
			return deny(setID(args[1]))
		case "fchmodat", "fchmodat2", "mkdirat", "mknodat":
			return deny(setID(args[2]))
		case "open":
			return deny(creates(args[1]) && setID(args[2]))
		case "openat":
			return deny(creates(args[2]) && setID(args[3]))
		case "openat2":
			return actionENOSYS
		case "io_uring_setup", "io_uring_enter", "io_uring_register":
			return actionEPERM
		}
	}
	if name == "personality" {
		changes := uint32(args[0]) != 0xffffffff
		if c.LockPersonality && changes && uint32(args[0]) != 0 {
			return actionEPERM
		}
		if c.MemoryDenyWriteExecute && changes && args[0]&0x400000 != 0 {
			return actionEPERM
		}
	}
	if c.MemoryDenyWriteExecute {
		switch name {
		case "mmap":
			return deny(args[2]&2 != 0 && args[2]&4 != 0)
		case "mprotect", "pkey_mprotect":
			return deny(args[2]&4 != 0)
		case "shmat":
			return deny(args[2]&0o100000 != 0)
		}
	}
	if c.AddressFamilies != nil {
		switch name {
		case "socket", "socketpair":
			if !slices.Contains(c.AddressFamilies, int(int32(args[0]))) {
				return actionFamily
			}
		case "io_uring_setup", "io_uring_enter", "io_uring_register":
			return actionEPERM
		}
	}
	return 0
}

// restrictedNames are the calls that model treats by their arguments.
var restrictedNames = []string{
	"execve", "write", "exit_group", "dup3", "sendmsg",
	"clone3", "setns", "clone", "unshare", "open_tree", "open_tree_attr", "fsmount", "sched_setattr", "sched_setscheduler",
	"chmod", "fchmod", "mkdir", "mknod", "creat", "fchmodat", "fchmodat2", "mkdirat", "mknodat", "open", "openat", "openat2",
	"io_uring_setup", "io_uring_enter", "io_uring_register", "personality", "mmap", "mprotect", "pkey_mprotect", "shmat",
	"socket", "socketpair",
}

const testCookie = 0x0123456789abcdef

// sampleArguments are values on both sides of every test of an argument.
var sampleArguments = []uint64{
	0, 1, 2, 3, 4, 5, 6, 7, 10, 16, 17, 40, 0x40, 0x41, 0x100, 0x200, 0x400, 0o644, 0o4755, 0o2755, 0o6000, 0o1777, 0o100000, 0o102755,
	0x410000, 0x404000, 0x400000, 0x400041, 0x10000, 0x4000, 0x20000, 0x40000, 0x100000, 0x80000,
	0x8000, 0x8011, 0x10000000, 0x10000011, 0x40000000, 0x40000001, 0x40000003, 0x80000000, 0xc0000003, 0xfffffffe, 0xffffffff,
	1 << 32, 1<<32 | 1, 1<<32 | 2, 3 << 32, 0x2000000000, 0xffffffff00000000, 0xffffffffffffffff,
	testCookie, testCookie ^ 1, testCookie ^ 1<<40, testCookie >> 32, testCookie & 0xffffffff,
}

// TestProgramDoesWhatModelSays tries every number of a call with sample arguments on both
// architectures.
func TestProgramDoesWhatModelSays(t *testing.T) {
	entries := syscalls.Sets()
	entries = append(entries, restrictedNames...)
	for _, e := range slices.Clone(entries) {
		entries = append(entries, "~"+e)
	}
	rapid.Check(t, func(t *rapid.T) {
		goarch := rapid.SampledFrom([]string{"amd64", "arm64"}).Draw(t, "arch")
		c := Config{
			Notice:                 rapid.SampledFrom([]Notice{NoNotice, NoticeDenied, NoticeAll}).Draw(t, "notice"),
			Action:                 rapid.SampledFrom([]Action{Errno, Kill, Log}).Draw(t, "action"),
			RestrictNamespaces:     rapid.Bool().Draw(t, "namespaces"),
			RestrictParents:        rapid.Bool().Draw(t, "parents"),
			RestrictRealtime:       rapid.Bool().Draw(t, "realtime"),
			RestrictSUIDSGID:       rapid.Bool().Draw(t, "suid-sgid"),
			LockPersonality:        rapid.Bool().Draw(t, "personality"),
			MemoryDenyWriteExecute: rapid.Bool().Draw(t, "write-execute"),
			Cookie:                 rapid.SampledFrom([]uint64{0, testCookie, testCookie << 32 >> 32, 1 << 40}).Draw(t, "cookie"),
		}
		if rapid.Bool().Draw(t, "some families") {
			c.AddressFamilies = append([]int{}, rapid.SliceOfNDistinct(rapid.IntRange(0, 45), 0, 45, rapid.ID[int]).Draw(t, "families")...)
		}
		if rapid.Bool().Draw(t, "policy") {
			c.Policy = policy(rapid.SliceOfN(rapid.SampledFrom(entries), 0, 6).Draw(t, "list")...)
		}
		code, err := Compile(goarch, c)
		if err != nil {
			t.Fatal(err)
		}
		m := newMachine(t, code)
		enforced := c
		enforced.Notice = min(c.Notice, NoticeDenied)
		judged, err := Compile(goarch, enforced)
		if err != nil {
			t.Fatal(err)
		}
		judge, err := NewJudge(judged)
		if err != nil {
			t.Fatal(err)
		}
		random := rand.New(rand.NewPCG(1, rapid.Uint64().Draw(t, "seed")))
		check := func(arch, number uint32) {
			t.Helper()
			var args [6]uint64
			for i := range args {
				args[i] = sampleArguments[random.IntN(len(sampleArguments))]
			}
			if got, want := m.run(t, arch, number, args), model(&c, goarch, arch, number, args); got != want {
				name, _ := syscalls.Name(goarch, int(number))
				t.Fatalf("%s(%#x), number %#x, arch %#x: action %#x, want %#x", name, args, number, arch, got, want)
			}
			// With NoticeAll, nothing is let through that the judge does not.
			if got, then := m.run(t, arch, number, args), judge.Action(arch, number, args); got != actionNotify && got != then {
				if name, _ := syscalls.Name(goarch, int(number)); args[3] != c.Cookie && (args[5] != c.Cookie || name != "execveat") || got != actionAllow {
					t.Fatalf("%s(%#x), number %#x, arch %#x: the filter answers %#x, and the judge %#x", name, args, number, arch, got, then)
				}
			}
		}
		native := auditArch[goarch]
		for number := range uint32(700) {
			check(native, number)
		}
		for _, number := range []uint32{0x3fffffff, 0x40000000, 0x40000001, 0x4000003b, 0x40000208, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff} {
			check(native, number)
		}
		for _, name := range restrictedNames {
			if number, found := syscalls.Number(goarch, name); found {
				for range 50 {
					check(native, uint32(number))
				}
			}
		}
		for _, arch := range []uint32{unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_ARM, unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_AARCH64, 0} {
			for _, number := range []uint32{0, 11, 59, 221, 0x40000000, 0xffffffff} {
				check(arch, number)
			}
		}
	})
}

// walk follows a program as far as the architecture and the number decide. It returns the
// action, and how many instructions led there. It reports false when something else is
// looked at. So the kernel finds the calls that are always allowed
// (seccomp_is_const_allow in kernel/seccomp.c).
func walk(code []unix.SockFilter, arch, number uint32) (action uint32, steps int, constant bool) {
	var a uint32
	for pc := 0; ; pc++ {
		steps++
		i := code[pc]
		jump := map[bool]uint8{true: i.Jt, false: i.Jf}
		switch i.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			switch i.K {
			case 0:
				a = number
			case 4:
				a = arch
			default:
				return 0, steps, false
			}
		case unix.BPF_RET | unix.BPF_K:
			return i.K, steps, true
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(i.K)
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			pc += int(jump[a == i.K])
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			pc += int(jump[a >= i.K])
		default:
			return 0, steps, false
		}
	}
}

// policy returns the policy of a list.
func policy(list ...string) *syscalls.Policy {
	p, err := syscalls.Expand(list)
	if err != nil {
		panic(err)
	}
	return &p
}

// everything returns a Config with a policy, all restrictions and a cookie.
func everything(list ...string) Config {
	return Config{
		Policy: policy(list...), RestrictNamespaces: true, RestrictParents: true, RestrictRealtime: true, RestrictSUIDSGID: true, LockPersonality: true,
		MemoryDenyWriteExecute: true, AddressFamilies: []int{unix.AF_UNIX}, Cookie: testCookie,
	}
}

// The kernel need not run the program for calls that are allowed with any arguments, and
// it comes to an end fast for others.
func TestPlainCallsAreConstant(t *testing.T) {
	for _, goarch := range []string{"amd64", "arm64"} {
		for name, c := range map[string]Config{
			"allow list": everything("@system-service", "~@privileged", "~@resources"),
			"deny list":  everything("~@clock", "~@debug", "~@module", "~@mount", "~@obsolete", "~@raw-io", "~@reboot", "~@swap", "~@keyring", "~bpf", "~userfaultfd", "~io_uring_setup"),
			"odd list":   everything(slices.Concat([]string{"read"}, everySecond(goarch))...),
		} {
			code, err := Compile(goarch, c)
			if err != nil {
				t.Fatal(err)
			}
			longest, constants := 0, 0
			for _, number := range syscalls.Numbers(goarch) {
				call, _ := syscalls.Name(goarch, number)
				action, steps, constant := walk(code, auditArch[goarch], uint32(number))
				if constant {
					constants++
					longest = max(longest, steps)
				}
				if c.Policy.Decide(call) == syscalls.Allowed && !slices.Contains(restrictedNames, call) && (!constant || action != actionAllow) {
					t.Errorf("%s, %s: the kernel must run the filter for %s", goarch, name, call)
				}
			}
			t.Logf("%s, %s: %d instructions, %d constant calls, of at most %d instructions", goarch, name, len(code), constants, longest)
			// Four instructions are not of the search: two loads, the test of the
			// architecture and the end. Some jumps are too long for one instruction.
			if longest > 20 {
				t.Errorf("%s, %s: a call needs %d instructions, which is no binary search", goarch, name, longest)
			}
		}
	}
}

// everySecond returns the names of every second call, which makes the longest program.
func everySecond(goarch string) []string {
	var names []string
	for i, number := range syscalls.Numbers(goarch) {
		if name, _ := syscalls.Name(goarch, number); i%2 == 0 {
			names = append(names, name)
		}
	}
	return names
}

// The search needs spans in strictly ascending order, from 0 on, whose neighbours differ.
func TestSpans(t *testing.T) {
	for goarch := range auditArch {
		c := everything("@system-service")
		list := spans(goarch, &c)
		for i := range list {
			switch {
			case i == 0 && list[i].first != 0, i > 0 && list[i-1].first >= list[i].first:
				t.Errorf("%s: span %d begins at %d", goarch, i, list[i].first)
			case i > 0 && list[i].outcome.plain() && list[i-1].outcome.plain() && list[i].outcome.action == list[i-1].outcome.action:
				t.Errorf("%s: spans %d and %d have one outcome", goarch, i-1, i)
			}
		}
	}
}

// Many families make a program with jumps of every length.
func TestLongJumps(t *testing.T) {
	const socket = 41 // on amd64
	for count := 60; count < 400; count++ {
		c := everything("~@clock", "~execve")
		c.AddressFamilies = make([]int, count)
		for i := range c.AddressFamilies {
			c.AddressFamilies[i] = 2 * i
		}
		code, err := Compile("amd64", c)
		if err != nil {
			t.Fatal(err)
		}
		m := newMachine(t, code)
		check := func(number uint32, args [6]uint64) {
			t.Helper()
			if got, want := m.run(t, unix.AUDIT_ARCH_X86_64, number, args), model(&c, "amd64", unix.AUDIT_ARCH_X86_64, number, args); got != want {
				t.Fatalf("%d families, call %d(%#x): action %#x, want %#x", count, number, args, got, want)
			}
		}
		// Other counts try other numbers.
		for number := uint32(count % 7); number < 500; number += 7 {
			check(number, [6]uint64{})
		}
		for family := uint64(count % 23); family < uint64(2*count+23); family += 23 {
			check(socket, [6]uint64{family})
		}
	}
}

func TestWhatCannotBeCompiled(t *testing.T) {
	families := make([]int, 2*maxInstructions)
	for i := range families {
		families[i] = i
	}
	for want, test := range map[string]struct {
		arch string
		c    Config
	}{
		`there is no filter of system calls for the architecture "386"`: {"386", Config{}},
		`there is no action 3 with notice 0 for system calls`:           {"amd64", Config{Action: 3}},
		` instructions, and the kernel allows 4096`:                     {"arm64", Config{AddressFamilies: families}},
	} {
		if code, err := Compile(test.arch, test.c); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%d instructions, %v, want %s", len(code), err, want)
		}
	}
}
