package systemd

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/preforkd/preforkd/master/config"
)

// isStored reports whether StoreName has made a name. No service has such a
// name.
func isStored(name string) bool { return strings.HasPrefix(name, config.ReservedPrefix) }

// Split separates the sockets that a socket unit has passed from those that the
// master has stored.
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

// UpgradeName is the name under which the manager stores what the next process of the
// service is told if this one dies in an upgrade. No endpoint has it, since each has a
// colon or a sign in front of its name.
const UpgradeName = config.ReservedPrefix + "upgrade"

// CutUpgrade separates what was stored under UpgradeName from the other sockets.
func CutUpgrade(sockets []Socket) (others, upgrade []Socket) {
	for _, s := range sockets {
		if s.Name == UpgradeName {
			upgrade = append(upgrade, s)
		} else {
			others = append(others, s)
		}
	}
	return others, upgrade
}

// Activated reports whether a socket unit has passed any of the sockets.
func Activated(sockets []Socket) bool {
	return slices.ContainsFunc(sockets, func(s Socket) bool { return !isStored(s.Name) })
}

// Match returns the passed sockets of each service. The name of a socket is the
// name of its service. A socket without a name belongs to the only service. The
// error names a socket that has no service.
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

// maxName is the maximum length of a descriptor's name, in characters.
const maxName = 255

// StoreName returns the name under which the manager stores a listener. It is
// made of the listener's endpoint as it is configured. A name consists of
// printable ASCII characters without a colon (sd_notify(3), FDNAME=). Other
// bytes are written as %XX, as in a URL. A name that is too long ends with a
// hash of the endpoint.
func StoreName(endpoint string) string {
	var name strings.Builder
	name.WriteString(config.ReservedPrefix)
	for i := range len(endpoint) {
		c := endpoint[i]
		if c <= ' ' || c >= 0x7f || c == ':' || c == '%' {
			fmt.Fprintf(&name, "%%%02X", c)
		} else {
			name.WriteByte(c)
		}
	}
	if name.Len() <= maxName {
		return name.String()
	}
	hash := fmt.Sprintf("%%%x", sha256.Sum256([]byte(endpoint)))
	return name.String()[:maxName-len(hash)] + hash
}
