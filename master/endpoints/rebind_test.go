package endpoints

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/preforkd/preforkd/ipc/needtest"
)

// A listener that gets other options takes the place of all that leave, and not
// only its own. What gets other options makes room for new listeners, too.
func TestOptionsAndAddressesChange(t *testing.T) {
	for name, texts := range map[string][]string{
		"replaced a moment ago": {
			"a|127.0.0.1|", "a||", "a||free-bind = true", "a||reuse-port = true", "a||",
		},
		"of a service that goes": {
			"a|[::]|v6-only = true", "a|[::]|v6-only = true;b|0.0.0.0|", "a|[::]|v6-only = false",
		},
		"for another service": {
			"a|[::]|v6-only = false", "a|[::]|v6-only = true;b|0.0.0.0|",
		},
		"for a service before it": {
			"b|[::]|v6-only = false", "a|0.0.0.0|;b|[::]|v6-only = true",
		},
		"in exchange": {
			"a|[::]|v6-only = true;b|0.0.0.0|", "b|[::]|v6-only = true;a|0.0.0.0|", "a|[::]|v6-only = false",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if c, err := net.Listen("tcp6", "[::1]:0"); err != nil {
				needtest.Skip(t, "needs IPv6: "+err.Error())
			} else {
				c.Close()
			}
			s, _ := newSet(t, false)
			port := free(t)
			for _, text := range texts {
				p, err := s.Plan(specs(t, atPort(port, text)))
				if err != nil {
					t.Fatalf("%s: %v", text, err)
				}
				closed, _ := s.Commit(p)
				s.Retire(closed)
			}
			s.Check(time.Now().Add(time.Hour))
			for _, l := range s.All() {
				if err := dial(l); err != nil {
					t.Errorf("%s: %v", l.Local(), err)
				}
			}
		})
	}
}

// atPort makes a configuration from "service|host|line;...".
func atPort(port int, text string) (toml string) {
	for _, service := range strings.Split(text, ";") {
		fields := strings.Split(service, "|")
		toml += fmt.Sprintf("[service.%s]\nlisten = ['%s:%d']\n%s\n", fields[0], fields[1], port, fields[2]) + cat
	}
	return toml
}
