package syscalls

import (
	"fmt"
	"strings"
)

// A Policy says which system calls are allowed. The zero Policy allows none.
type Policy struct {
	// AllowByDefault says that every call is allowed but those that the list took
	// away. Otherwise nothing is allowed but the calls of the list.
	AllowByDefault bool

	exceptions map[string]bool // the names that are not treated by default
}

// A Decision says what becomes of a call.
type Decision uint8

const (
	// Denied calls are known to systemd's sets, and the list does not allow them.
	Denied Decision = iota
	Allowed
	// Unknown calls are newer than systemd's sets, so a list of what is allowed
	// cannot have them from a set. They are denied too. A filter should answer
	// them as an older kernel does (ENOSYS), because programs that try a new call
	// go on with an old one then. So does systemd, since version 247.
	Unknown
)

// Expand returns the policy of a list. An entry is the name of a call or of a set
// ("@mount"), and "~" before it takes away. The entries apply in their order.
//
// A list whose first entry begins with "~" allows all but what it takes away. Any other
// list, also an empty one, allows nothing but what it names and the set @default, from
// which a later entry may take away. These are the rules of systemd's SystemCallFilter=
// (systemd.exec(5)). The error is that of Check.
func Expand(list []string) (Policy, error) {
	p := Policy{
		AllowByDefault: len(list) > 0 && strings.HasPrefix(list[0], "~"),
		exceptions:     map[string]bool{},
	}
	if !p.AllowByDefault {
		p.apply("@default")
	}
	for _, entry := range list {
		if err := Check(entry); err != nil {
			return Policy{}, fmt.Errorf("%q: %w", entry, err)
		}
		p.apply(entry)
	}
	return p, nil
}

func (p *Policy) apply(entry string) {
	entry, takesAway := strings.CutPrefix(entry, "~")
	for _, name := range expand(sets(), entry) {
		if takesAway == p.AllowByDefault {
			p.exceptions[name] = true
		} else {
			delete(p.exceptions, name)
		}
	}
}

// Decide returns what becomes of a call.
func (p *Policy) Decide(name string) Decision {
	switch {
	case p.exceptions[name] != p.AllowByDefault:
		return Allowed
	case p.AllowByDefault || listed()[name]:
		return Denied
	}
	return Unknown
}

// Allowed returns the numbers of the allowed calls of an architecture (a GOARCH), in
// ascending order.
func (p *Policy) Allowed(arch string) []int { return p.numbers(arch, Allowed) }

// Denied returns the numbers of the denied calls of an architecture (a GOARCH), in
// ascending order.
func (p *Policy) Denied(arch string) []int { return p.numbers(arch, Denied) }

// Unknown returns the numbers of the calls of an architecture (a GOARCH) that are
// denied because they are newer than systemd's sets, in ascending order.
func (p *Policy) Unknown(arch string) []int { return p.numbers(arch, Unknown) }

func (p *Policy) numbers(arch string, decision Decision) []int {
	return numbersOf(arch, func(name string) bool { return p.Decide(name) == decision })
}
