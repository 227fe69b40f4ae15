package systemd

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/preforkd/preforkd/master/config"
)

// isStored reports whether a name is one of those that StoreName makes. No
// service has such a name.
func isStored(name string) bool { return strings.HasPrefix(name, config.ReservedPrefix) }

// Split parts what a socket unit passed from what the master has stored.
func Split(sockets []Socket) (passed, stored []Socket) {
	for _, s := range sockets {
		if isStored(s.Name) {
			stored = append(stored, s)
		} else {
			passed = append(passed, s)
		}
	}
	return passed, stored
}

// Activated reports whether a socket unit passed any.
func Activated(sockets []Socket) bool {
	return slices.ContainsFunc(sockets, func(s Socket) bool { return !isStored(s.Name) })
}

// Match returns which service each passed socket is for, by its name; one
// without a name is for the only service. The error names what cannot be
// matched.
func Match(passed []Socket, services []string) (map[string][]Socket, error) {
	matched := map[string][]Socket{}
	for _, s := range passed {
		switch {
		case s.Name == "" && len(services) == 1:
			matched[services[0]] = append(matched[services[0]], s)
		case s.Name == "":
			return nil, fmt.Errorf("a passed socket has no name, and there are the services %s: its socket unit needs FileDescriptorName= with one of them",
				strings.Join(services, ", "))
		case !slices.Contains(services, s.Name):
			return nil, fmt.Errorf("a passed socket has the name %q, and no service has: FileDescriptorName= must be one of %s",
				s.Name, strings.Join(services, ", "))
		default:
			matched[s.Name] = append(matched[s.Name], s)
		}
	}
	return matched, nil
}

// maxName is the longest name of a descriptor, in characters.
const maxName = 255

// StoreName returns the name by which a listener is left with the manager and
// found again: that of the place, as it is configured. A name is printable
// ASCII without a colon (sd_notify(3), FDNAME=), so other bytes are written as
// %XX, as in a URL, and a name that would be too long ends in its hash.
func StoreName(place string) string {
	var name strings.Builder
	name.WriteString(config.ReservedPrefix)
	for i := range len(place) {
		c := place[i]
		if c <= ' ' || c >= 0x7f || c == ':' || c == '%' {
			fmt.Fprintf(&name, "%%%02X", c)
		} else {
			name.WriteByte(c)
		}
	}
	if name.Len() <= maxName {
		return name.String()
	}
	hash := fmt.Sprintf("%%%x", sha256.Sum256([]byte(place)))
	return name.String()[:maxName-len(hash)] + hash
}
