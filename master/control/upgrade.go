package control

import (
	"errors"
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/preforkd/preforkd/master/process"
)

// An UpgradeRequest says to what a master upgrades.
type UpgradeRequest struct {
	// Binary is the absolute path of the program, "" for the path that the master
	// was started from.
	Binary string `json:"binary"`
	// Config is the absolute path of the configuration file from then on, "" for
	// the file that the master has.
	Config string `json:"config"`
	// Check says that the upgrade is only tried: nothing is executed in place of
	// the master.
	Check bool `json:"check"`
}

// An Upgraded says what an upgrade has done. For a request with Check it says what
// one would do.
type Upgraded struct {
	From string `json:"from"` // versions
	To   string `json:"to"`
	// Duration is from the request to the moment when the new program served.
	// Pause is for how long of that nothing was accepted. Both are in seconds, and 0
	// for a check.
	Duration float64 `json:"duration_seconds"`
	Pause    float64 `json:"pause_seconds"`
	Workers  int     `json:"workers"` // how many went over, spares included
	// Generation is that of the program that serves now.
	Generation int      `json:"generation"`
	Dropped    []string `json:"dropped"` // what did not go over, each with the reason
	// Reloaded is what the configuration file has changed in the same step. It is nil
	// if there is no file.
	Reloaded *Reloaded `json:"reloaded,omitempty"`
	Check    bool      `json:"check,omitempty"` // it was only tried
}

// Upgrades are the upgrades of a master since its process began.
type Upgrades struct {
	Count uint64 `json:"count"` // those after which the new program served
	// Failed are those after which the old one went on, and the one in which the process
	// before this one has died, if it has.
	Failed uint64 `json:"failed"`
	// Last is the last one that did not fail, and LastFailure the last one that did.
	Last        *Upgrade        `json:"last,omitempty"`
	LastFailure *UpgradeFailure `json:"last_failure,omitempty"`
}

// Generation returns which program the process runs: 1 for the one that it was
// started with, and 1 more for each that has taken over and served.
func (u *Upgrades) Generation() int { return 1 + int(u.Count) }

// An Upgrade is one that has succeeded.
type Upgrade struct {
	From     string    `json:"from"` // versions
	To       string    `json:"to"`
	At       time.Time `json:"at"`       // when the new program served
	Duration float64   `json:"duration"` // as in Upgraded
}

// An UpgradeFailure is an upgrade after which the old program went on, or in which the
// process has died.
type UpgradeFailure struct {
	At     time.Time `json:"at"`
	Step   string    `json:"step"` // which failed
	Reason string    `json:"reason"`
	To     string    `json:"to,omitempty"` // the version, if it is known
}

// NotUpgraded returns the error for a client whose upgrade has failed.
func NotUpgraded(step string, reason error) *Error {
	return Errorf(Failed, "not upgraded: %s: %v", step, reason)
}

func (s *Server) upgrade(r *http.Request, body []byte, peer Peer) (any, error) {
	var q UpgradeRequest
	if err := parameters(body, &q); err != nil {
		return nil, err
	}
	for _, p := range []struct{ name, path string }{{"binary", q.Binary}, {"config", q.Config}} {
		switch {
		case p.path == "":
		case !filepath.IsAbs(p.path):
			return nil, Errorf(Invalid, "%s %s: must be an absolute path", p.name, quoted(p.path))
		case strings.ContainsRune(p.path, 0):
			return nil, Errorf(Invalid, "%s %s: a path has no NUL", p.name, quoted(p.path))
		}
	}
	if err := s.mayName(q, peer); err != nil {
		return nil, err
	}
	client := clientOf(r.Context())
	client.setWaits(true)
	defer client.setWaits(false)
	u, err := s.backend.Upgrade(r.Context(), q, peer, waiterOf(r.Context()))
	return result(u.complete(), err)
}

// mayName returns an error if the client names what the master is to execute or to read
// from then on, and may do less than the master. A worker in a box may have the master's
// user, and would leave the box by that.
func (s *Server) mayName(q UpgradeRequest, peer Peer) error {
	if q.Binary == "" && q.Config == "" {
		return nil
	}
	how, err := process.MoreConfined(int(peer.PID))
	switch {
	case errors.Is(err, fs.ErrNotExist) && peer.UID == 0 && s.self != 0:
		return nil // the unit hides the processes of others (ProtectProc=), and root is above the master
	case err != nil:
		return Errorf(Forbidden, "process %d cannot be looked at, so it may not name a program or a configuration: %v", peer.PID, err)
	case how != "":
		return Errorf(Forbidden, "who names a program or a configuration must be allowed to do what the master may, and process %d %s", peer.PID, how)
	}
	return nil
}

// complete returns what was done as clients get it, where a list is never null.
func (u Upgraded) complete() Upgraded {
	u.Dropped = append([]string{}, u.Dropped...)
	return u
}
