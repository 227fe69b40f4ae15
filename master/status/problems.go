package status

import (
	"fmt"
	"time"

	"github.com/preforkd/preforkd/master/backoff"
	"github.com/preforkd/preforkd/master/control"
)

// How long something that went wrong counts as a problem when nothing shows that
// it has passed.
const (
	spawnTrouble    = time.Minute
	shortageTrouble = 3 * backoff.Max // a shortage is met again with every attempt
	logTrouble      = time.Minute
	goneTrouble     = 5 * time.Minute // for a worker whose client has gone
)

// problems returns why a master is degraded at the moment of the view. Each
// problem passes by itself once its reason has.
func (v *View) problems(lostLines int64, lostAt time.Time) []control.Problem {
	found := []control.Problem{}
	now := v.status.Taken
	recent := func(at time.Time, d time.Duration) bool { return !at.IsZero() && now.Sub(at) < d }
	add := func(service, format string, args ...any) {
		found = append(found, control.Problem{Service: service, Reason: fmt.Sprintf(format, args...)})
	}
	switch {
	case v.controlError != nil:
		add("", "there is no control socket: %v", v.controlError)
	case v.control != nil && v.control.Vanished():
		add("", "the control socket %s is gone; a reload makes a new one", v.control.Path())
	}
	if v.reload != "" {
		add("", "%s", v.reload)
	}
	if recent(lostAt, logTrouble) {
		add("", "lines of the log are lost, %d so far: nobody reads it, or its file takes no more", lostLines)
	}
	if v.unwatched != nil {
		add("", "messages of workers are read with a delay: %v", v.unwatched)
	}
	for i, h := range v.health {
		service := &v.status.Services[i]
		if h.clientsGone > 0 {
			add(service.Name, "%d connections are kept whose clients have gone more than %v ago; hang-up = \"term\" ends such workers", h.clientsGone, goneTrouble)
		}
		if recent(h.trouble.At, spawnTrouble) {
			add(service.Name, "the last spawn failed: %v", h.trouble.Cause)
		}
		if recent(h.shortage, shortageTrouble) {
			add(service.Name, "accepting waits for descriptors, processes or memory")
		}
		if h.failing && h.missing > 0 {
			add(service.Name, "%d of at least %d spares are missing: those that were started did not last", h.missing, h.min)
		}
		if h.idleUnknown != nil {
			add(service.Name, "idle-timeout is not enforced where a worker does not: %v", h.idleUnknown)
		}
		if h.stopped > 0 {
			add(service.Name, "%d workers are stopped and do nothing (%s): SIGCONT lets one go on, preforkd kill ends it", h.stopped, h.example)
		}
		for _, s := range h.stalled {
			add(service.Name, "%d starts of %s hang, the oldest for %v: its disk or file server does not answer",
				s.Starts, s.Program, now.Sub(s.Since).Round(time.Second))
		}
		for _, reason := range h.unreachable {
			add(service.Name, "%s", reason)
		}
		for _, l := range service.Listeners {
			if l.Queue != nil && l.Backlog != nil && *l.Queue > *l.Backlog {
				add(service.Name, "the queue of %s is full: the kernel turns connections away", l.Local)
			}
		}
	}
	return found
}
