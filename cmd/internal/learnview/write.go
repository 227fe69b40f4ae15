package learnview

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/preforkd/preforkd/master/box/seccomp"
	"github.com/preforkd/preforkd/master/control"
)

// Write writes the keys that allow what connections have used, and what was denied as
// comments. Without any connection it writes nothing.
func Write(w io.Writer, l *control.Learned, took time.Duration) error {
	if l.Processes == 0 {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# What %s of service %s used within %v.\n", number(uint64(l.Processes), "process", "processes"), l.Service, took.Round(time.Second))
	fmt.Fprintf(&b, "[service.%s.box]\n", key(l.Service))
	fmt.Fprintf(&b, "system-calls = %s\n", list(systemCalls(l)))
	for _, name := range seccomp.Restrictions() {
		if name == seccomp.KeyAddressFamilies {
			fmt.Fprintf(&b, "%s = %s\n", name, list(families(l)))
			continue
		}
		fmt.Fprintf(&b, "%s = %t\n", name, !slices.Contains(l.Needs, name))
	}
	if len(l.Denied) > 0 {
		b.WriteString("# The box has denied, and these keys do not allow:\n")
	}
	for _, name := range slices.Sorted(maps.Keys(l.Denied)) {
		fmt.Fprintf(&b, "#   %s, %s\n", name, number(l.Denied[name], "time", "times"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// number returns a number of something.
func number(n uint64, one, several string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, several)
}

// systemCalls returns the list of what is allowed. An empty one would allow all, and what
// @default holds is in every other.
func systemCalls(l *control.Learned) []string {
	if len(l.SystemCalls) == 0 {
		return []string{"@default"}
	}
	return l.SystemCalls
}

func families(l *control.Learned) []string {
	if l.AnyFamily {
		return []string{"any"}
	}
	return l.AddressFamilies
}

// width is how long lines of a list may be.
const width = 100

// list returns an array of TOML, in several lines if one does not hold it.
func list(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = fmt.Sprintf("%q", name)
	}
	if line := strings.Join(quoted, ", "); len(line) <= width-20 {
		return "[" + line + "]"
	}
	text, line := "[\n", "   "
	for _, q := range quoted {
		if len(line)+len(q)+2 > width {
			text, line = text+line+"\n", "   "
		}
		line += " " + q + ","
	}
	return text + line + "\n]"
}

// key returns a name as a key of TOML.
func key(name string) string {
	bare := strings.IndexFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	}) < 0
	if bare && name != "" {
		return name
	}
	return fmt.Sprintf("%q", name)
}
