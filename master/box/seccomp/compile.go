package seccomp

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/box/syscalls"
)

// maxInstructions is the kernel's limit (BPF_MAXINSNS, linux/bpf_common.h).
const maxInstructions = 4096

// auditArch is how a filter sees each architecture.
var auditArch = map[string]uint32{
	"amd64": unix.AUDIT_ARCH_X86_64,
	"arm64": unix.AUDIT_ARCH_AARCH64,
}

// Numbers with a meaning of their own.
const (
	// skipped is the number -1. A tracer sets it to skip a call (ptrace(2)), so there
	// is nothing left to deny.
	skipped = 0xffffffff

	// Calls of the x32 ABI have this bit, on amd64 (asm/unistd.h).
	x32 = 0x40000000
	// Before Linux 5.4 these numbers meant calls of the x32 ABI without that bit, too
	// (seccomp(2)).
	x32Low, x32LowEnd = 512, 548
)

func errno(e unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(e) }

// An outcome is what the program does about a call.
type outcome struct {
	action uint32 // when no rule denies the call
	rules  []rule
	cookie int // the argument in which the cookie allows the call; 0 is none
}

func (o *outcome) plain() bool { return len(o.rules) == 0 && o.cookie == 0 }

// A span is a range of call numbers with the same outcome. It ends where the next begins.
type span struct {
	first   uint32
	outcome outcome
}

// Compile returns the program for an architecture (a GOARCH), for the kernel of a
// machine of that architecture. The error says which architecture or action is not known
// here, or that the program is longer than the kernel allows.
func Compile(arch string, c Config) ([]unix.SockFilter, error) {
	native, found := auditArch[arch]
	if !found {
		return nil, fmt.Errorf("there is no filter of system calls for the architecture %q", arch)
	}
	if c.Action > Log || c.Notice > NoticeAll {
		return nil, fmt.Errorf("there is no action %d with notice %d for system calls", c.Action, c.Notice)
	}
	p := &program{returns: map[uint32]label{}}
	number := p.load(offsetNumber, p.addSearch(spans(arch, &c), c.Cookie))
	p.load(offsetArch, p.jump(unix.BPF_JEQ, native, number, p.end(foreign(&c))))
	if len(p.code) > maxInstructions {
		return nil, fmt.Errorf("the filter of system calls has %d instructions, and the kernel allows %d", len(p.code), maxInstructions)
	}
	slices.Reverse(p.code)
	return p.code, nil
}

// foreign returns the action for a call of another architecture. It is denied even where
// other calls are only logged, because what it does cannot be restricted. ENOSYS is the
// answer of a kernel without that architecture.
func foreign(c *Config) uint32 {
	if c.Action == Kill {
		return c.told(unix.SECCOMP_RET_KILL_PROCESS)
	}
	return errno(unix.ENOSYS)
}

// told returns what stands for an action of the kernel that a listener is told of.
func (c *Config) told(action uint32) uint32 {
	if c.Notice == NoNotice {
		return action
	}
	return unix.SECCOMP_RET_USER_NOTIF
}

// spans returns the outcomes of all call numbers, in ascending order.
func spans(arch string, c *Config) []span {
	rules := restrictions(c)
	missing := outcome{action: errno(unix.ENOSYS)}
	list := []span{{0, missing}}
	for _, number := range syscalls.Numbers(arch) {
		name, _ := syscalls.Name(arch, number)
		list = append(list, span{uint32(number), decide(c, name, rules[name])}, span{uint32(number) + 1, missing})
	}
	if arch == "amd64" {
		denied := outcome{action: foreign(c)}
		list = append(list, span{x32Low, denied}, span{x32LowEnd, missing}, span{x32, denied})
	}
	list = append(list, span{skipped, outcome{action: unix.SECCOMP_RET_ALLOW}})
	return joined(list)
}

// joined returns the spans without those that are empty, and with neighbours of the same
// outcome as one.
func joined(list []span) []span {
	var out []span
	for i, s := range list {
		empty := i+1 < len(list) && list[i+1].first == s.first
		same := len(out) > 0 && s.outcome.plain() && out[len(out)-1].outcome.plain() &&
			s.outcome.action == out[len(out)-1].outcome.action
		if !empty && !same {
			out = append(out, s)
		}
	}
	return out
}

// decide returns the outcome of a call that has these rules.
func decide(c *Config, name string, rules []rule) outcome {
	o := outcome{action: unix.SECCOMP_RET_ALLOW}
	decision := c.decision(name)
	switch {
	case c.Notice != NoticeAll:
		o.action = c.policyAction(decision)
		if decision == syscalls.Allowed || c.Action == Log {
			o.rules = rules
		}
	case decision == syscalls.Allowed && isDefault()[name]:
		o.rules = noticeRules()[name]
	default:
		o.action = unix.SECCOMP_RET_USER_NOTIF
	}
	for _, r := range o.rules {
		if len(r.conditions) == 0 {
			o = outcome{action: r.action}
			break
		}
	}
	switch {
	case c.Cookie == 0 || o.action == unix.SECCOMP_RET_ALLOW && len(o.rules) == 0:
	case cookieArguments[name] > 0:
		o.cookie = cookieArguments[name]
	case c.Notice != NoNotice && o.action != unix.SECCOMP_RET_ALLOW:
		o.cookie = noticeCookieArguments[name]
	}
	return o
}

// decision returns what the policy says of a call.
func (c *Config) decision(name string) syscalls.Decision {
	if c.Policy == nil {
		return syscalls.Allowed
	}
	return c.Policy.Decide(name)
}

func (c *Config) policyAction(d syscalls.Decision) uint32 {
	switch {
	case d == syscalls.Allowed:
		return unix.SECCOMP_RET_ALLOW
	case c.Action == Log:
		return c.told(unix.SECCOMP_RET_LOG)
	case d == syscalls.Unknown:
		return errno(unix.ENOSYS)
	case c.Action == Kill:
		return c.told(unix.SECCOMP_RET_KILL_PROCESS)
	}
	return errno(unix.EPERM)
}

// addSearch adds the binary search for the loaded number, and what is to be done there.
func (p *program) addSearch(list []span, cookie uint64) label {
	if len(list) > 1 {
		middle := len(list) / 2
		upper := p.addSearch(list[middle:], cookie)
		lower := p.addSearch(list[:middle], cookie)
		return p.jump(unix.BPF_JGE, list[middle].first, upper, lower)
	}
	o := list[0].outcome
	at := p.addRules(o.rules, p.end(o.action))
	if o.cookie > 0 {
		at = p.addCookie(cookie, o.cookie, at)
	}
	return at
}
