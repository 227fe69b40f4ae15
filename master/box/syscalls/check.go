package syscalls

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/preforkd/preforkd/master/spelling"
)

// Check returns why an entry of a list is wrong, in one line without the entry, or nil. A
// call that exists on another architecture only is right, and has no effect, as in systemd.
func Check(entry string) error {
	name := strings.TrimPrefix(entry, "~")
	if name == "" {
		return errors.New("must name a system call or a set of them")
	}
	if before, action, found := strings.Cut(name, ":"); found {
		return fmt.Errorf("must be %q: a single call cannot have an action of its own (%q)", before, action)
	}
	what := "system call"
	if strings.HasPrefix(name, "@") {
		if _, found := sets()[name]; found {
			return nil
		}
		what = "set of system calls"
	} else if find(name) != nil || listed()[name] {
		return nil
	}
	known := slices.Concat(Sets(), slices.Sorted(maps.Keys(listed())))
	for i := range calls {
		known = append(known, calls[i].name)
	}
	if best := spelling.Nearest(name, known); best != "" {
		return fmt.Errorf("there is no such %s; did you mean %q?", what, entry[:len(entry)-len(name)]+best)
	}
	return fmt.Errorf("there is no such %s", what)
}
