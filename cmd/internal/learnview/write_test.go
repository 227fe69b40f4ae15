package learnview

import (
	"strings"
	"testing"
	"time"

	"github.com/preforkd/preforkd/master/control"
)

func TestWrite(t *testing.T) {
	for name, c := range map[string]struct {
		known control.Learned
		want  string
	}{
		"nobody": {control.Learned{Service: "one"}, ""},
		"only what every list has": {control.Learned{Service: "one", Processes: 1}, `# What 1 process of service one used within 1m30s.
[service.one.box]
system-calls = ["@default"]
restrict-namespaces = true
restrict-realtime = true
restrict-suid-sgid = true
lock-personality = true
memory-deny-write-execute = true
restrict-address-families = []
`},
		"much": {control.Learned{
			Service: "a.b", Processes: 7, AddressFamilies: []string{"inet", "unix"}, Needs: []string{"lock-personality", "restrict-namespaces"},
			SystemCalls: []string{"a_long_name_of_a_call", "another_long_name_of_one", "one_more_long_name_of_one", "the_last_long_name_of_one"},
			Denied:      map[string]uint64{"socket inet6": 1, "mount": 12},
		}, `# What 7 processes of service a.b used within 1m30s.
[service."a.b".box]
system-calls = [
    "a_long_name_of_a_call", "another_long_name_of_one", "one_more_long_name_of_one",
    "the_last_long_name_of_one",
]
restrict-namespaces = false
restrict-realtime = true
restrict-suid-sgid = true
lock-personality = false
memory-deny-write-execute = true
restrict-address-families = ["inet", "unix"]
# The box has denied, and these keys do not allow:
#   mount, 12 times
#   socket inet6, 1 time
`},
		"a ring": {control.Learned{Service: "one", Processes: 1, AnyFamily: true, AddressFamilies: []string{"unix"}, SystemCalls: []string{"io_uring_setup"}, Needs: []string{"restrict-suid-sgid"}}, `# What 1 process of service one used within 1m30s.
[service.one.box]
system-calls = ["io_uring_setup"]
restrict-namespaces = true
restrict-realtime = true
restrict-suid-sgid = false
lock-personality = true
memory-deny-write-execute = true
restrict-address-families = ["any"]
`},
	} {
		var b strings.Builder
		if err := Write(&b, &c.known, 90*time.Second+time.Millisecond); err != nil || b.String() != c.want {
			t.Errorf("%s: %v, got\n%swant\n%s", name, err, b.String(), c.want)
		}
	}
}
