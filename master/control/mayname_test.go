package control

import (
	"os"
	"testing"
)

// Who names a program may do as much as the master. A process that the master cannot look at
// may only be root's, with a master that is not root.
func TestMayName(t *testing.T) {
	const nobody = 1 << 30 // no pid is as high
	named := UpgradeRequest{Binary: "/usr/bin/preforkd"}
	for name, c := range map[string]struct {
		request UpgradeRequest
		self    uint32
		peer    Peer
		may     bool
	}{
		"nothing is named":     {UpgradeRequest{Check: true}, 0, Peer{PID: nobody}, true},
		"this process":         {named, 0, Peer{PID: int32(os.Getpid())}, true},
		"hidden":               {named, 0, Peer{PID: nobody}, false},
		"hidden, root's":       {named, 33, Peer{PID: nobody}, true},
		"hidden, the master's": {named, 33, Peer{UID: 33, PID: nobody}, false},
		"a configuration":      {UpgradeRequest{Config: "/etc/preforkd/preforkd.toml"}, 33, Peer{UID: 33, PID: nobody}, false},
	} {
		s := &Server{self: c.self}
		if err := s.mayName(c.request, c.peer); (err == nil) != c.may {
			t.Errorf("%s: %v", name, err)
		}
	}
}
