package box

import (
	"fmt"
	"slices"
	"strings"

	"github.com/preforkd/preforkd/master/human"
)

// Lacks is what this machine cannot give of what one box requires, in the order in which
// it was found out. As an error it is one line.
type Lacks []*MissingError

func (l Lacks) Error() string {
	var e LackError
	e.Add("", l)
	return e.Error()
}

// A LackError says which services require something of their boxes that this machine
// cannot give. It is one line, however many they are: services that lack the same are
// named together, and only the first of them.
type LackError struct {
	services map[string]bool
	groups   []lackGroup
}

// A lackGroup are services that lack the same for the same keys.
type lackGroup struct {
	keys, why string
	services  []string
}

// What a LackError names.
const (
	maxLackGroups   = 8
	maxLackServices = 5
)

// Add adds a service.
func (e *LackError) Add(service string, lacks Lacks) {
	if e.services == nil {
		e.services = map[string]bool{}
	}
	e.services[service] = true
	keys := map[string][]string{}
	var order []string
	for _, m := range lacks {
		why := m.Need() + ": " + m.Remedy
		if keys[why] == nil {
			order = append(order, why)
		}
		keys[why] = append(keys[why], m.Key)
	}
	for _, why := range order {
		g := lackGroup{strings.Join(keys[why], ", "), why, []string{service}}
		if i := slices.IndexFunc(e.groups, func(o lackGroup) bool { return o.keys == g.keys && o.why == g.why }); i >= 0 {
			e.groups[i].services = append(e.groups[i].services, service)
		} else {
			e.groups = append(e.groups, g)
		}
	}
}

// IsEmpty reports whether no service lacks anything.
func (e *LackError) IsEmpty() bool { return len(e.groups) == 0 }

func (e *LackError) Error() string {
	var parts []string
	named := map[string]bool{} // services of which all is told
	for name := range e.services {
		named[name] = true
	}
	before := ""
	for i, g := range e.groups {
		if i >= maxLackGroups {
			for _, name := range g.services {
				delete(named, name)
			}
			continue
		}
		text := g.keys + ": " + g.why
		if whose := servicesText(g.services); whose != before {
			text, before = whose+text, whose
		}
		parts = append(parts, text)
	}
	if more := len(e.services) - len(named); more > 0 {
		parts = append(parts, fmt.Sprintf("there is more that %d of %d services lack: preforkd check --box tells of one", more, len(e.services)))
	}
	return strings.Join(parts, "; ")
}

// servicesText returns how an error begins that is about services. One without a name
// is named by whoever has the error.
func servicesText(names []string) string {
	if names[0] == "" {
		return ""
	}
	first := make([]string, 0, maxLackServices)
	for _, name := range names[:min(len(names), maxLackServices)] {
		first = append(first, human.Printable(name))
	}
	text := strings.Join(first, ", ")
	if more := len(names) - len(first); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	if len(names) == 1 {
		return "service " + text + ": box: "
	}
	return "services " + text + ": box: "
}
