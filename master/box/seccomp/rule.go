package seccomp

import (
	"slices"

	"golang.org/x/sys/unix"
)

// A rule is about a call for which all of its conditions hold. Without conditions it is
// about every one.
type rule struct {
	action     uint32 // what the program answers: an errno, but for noticeRules
	conditions []condition
}

// holds reports whether the rule is about a call with these arguments.
func (r *rule) holds(arguments [6]uint64) bool {
	for i := range r.conditions {
		if !r.conditions[i].holds(arguments) {
			return false
		}
	}
	return true
}

// A condition is a test of one half of an argument. Most arguments of the restricted
// calls are ints or flags of 32 bits, where the kernel ignores the upper half. A test of
// the whole register would then be a way around (CVE-2019-10063).
type condition struct {
	argument int // from 0
	upper    bool
	test     test
	mask     uint32   // the bits that count
	values   []uint32 // for noneOf
}

func (c *condition) holds(arguments [6]uint64) bool {
	half := uint32(arguments[c.argument])
	if c.upper {
		half = uint32(arguments[c.argument] >> 32)
	}
	half &= c.mask
	switch c.test {
	case anyBit:
		return half != 0
	case allBits:
		return half == c.mask
	}
	return !slices.Contains(c.values, half)
}

type test uint8

const (
	anyBit  test = iota // one of the bits is set
	allBits             // all of the bits are set
	noneOf              // the bits are none of the values
)

// anyBits returns the condition that an argument has one of the bits.
func anyBits(argument int, mask uint32) condition {
	return condition{argument: argument, test: anyBit, mask: mask}
}

// none returns the condition that an argument, but for the ignored bits, is none of the
// values.
func none(argument int, ignored uint32, values ...uint32) condition {
	return condition{argument: argument, test: noneOf, mask: ^ignored, values: values}
}

// Offsets in struct seccomp_data (linux/seccomp.h). Both architectures have the lower
// half of an argument first.
const (
	offsetNumber    = 0
	offsetArch      = 4
	offsetArguments = 16
)

// argumentAt returns the offset of a half of an argument.
func argumentAt(argument int, upper bool) uint32 {
	offset := offsetArguments + 8*uint32(argument)
	if upper {
		offset += 4
	}
	return offset
}

// addRules adds the tests of the rules. Where none is about the call, the program goes on
// with passed.
func (p *program) addRules(rules []rule, passed label) label {
	for i := len(rules) - 1; i >= 0; i-- {
		holds := p.end(rules[i].action)
		for j := len(rules[i].conditions) - 1; j >= 0; j-- {
			holds = p.addCondition(&rules[i].conditions[j], holds, passed)
		}
		passed = holds
	}
	return passed
}

func (p *program) addCondition(c *condition, yes, no label) label {
	at := yes
	switch c.test {
	case anyBit:
		at = p.jump(unix.BPF_JSET, c.mask, yes, no)
		return p.load(argumentAt(c.argument, c.upper), at)
	case allBits:
		at = p.jump(unix.BPF_JEQ, c.mask, yes, no)
	case noneOf:
		for _, v := range c.values {
			at = p.jump(unix.BPF_JEQ, v, no, at)
		}
	}
	if c.mask != ^uint32(0) {
		at = p.step(unix.BPF_ALU|unix.BPF_AND|unix.BPF_K, c.mask, at)
	}
	return p.load(argumentAt(c.argument, c.upper), at)
}

// cookieArguments holds, for each call that the cookie allows, the argument in which it
// is, counted from 0: one that the call does not have.
var cookieArguments = map[string]int{"execve": 3, "execveat": 5, "write": 3, "exit_group": 3}

// noticeCookieArguments are those with a Notice in addition.
var noticeCookieArguments = map[string]int{"dup3": 3, "sendmsg": 3}

// addCookie adds the test of the cookie in an argument. Without it, the program goes on
// with other. Both halves are compared at once (see the package documentation).
func (p *program) addCookie(cookie uint64, argument int, other label) label {
	at := p.jump(unix.BPF_JEQ, 0, p.end(unix.SECCOMP_RET_ALLOW), other)
	at = p.step(unix.BPF_ALU|unix.BPF_OR|unix.BPF_X, 0, at)
	at = p.step(unix.BPF_ALU|unix.BPF_XOR|unix.BPF_K, uint32(cookie>>32), at)
	at = p.load(argumentAt(argument, true), at)
	at = p.step(unix.BPF_MISC|unix.BPF_TAX, 0, at)
	at = p.step(unix.BPF_ALU|unix.BPF_XOR|unix.BPF_K, uint32(cookie), at)
	return p.load(argumentAt(argument, false), at)
}
