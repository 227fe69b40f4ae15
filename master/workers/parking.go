package workers

import (
	"time"

	"github.com/preforkd/preforkd/master/fdpark"
	"github.com/preforkd/preforkd/master/logging"
)

// Each live worker with the worker handoff has a control channel, and every
// spawn copies and closes all descriptors that the master has: with 10,000 that
// takes ten times as long as all the rest. So when many channels are open, those
// of workers whose connections last are parked: they move to a thread with a
// descriptor table of its own.
const (
	parkThreshold = 256         // so many channels may be among the master's descriptors
	parkBatch     = 64          // so many are parked at once
	parkMinAge    = time.Second // connections that are younger than that may end soon
)

// parking knows which channels may be among the master's descriptors, and where
// the others are. The loop owns it.
type parking struct {
	thread     *fdpark.Thread // nil until it is needed
	failed     bool         // the log says that channels stay where they are
	candidates []*Worker    // whose channels may be parked, the longest serving first; not pids, which are used again
}

// ParkIfIdle remembers a worker that now serves its last connection: from then
// on only the loop uses its channel, and hardly ever. If more than parkThreshold
// such channels are among the master's descriptors, the oldest ones are parked.
func (s *Set) ParkIfIdle(w *Worker, now time.Time) {
	p := &s.parking
	if p.disabled() || w.State() != Serving || w.Reusable() || !w.channel.isOpen() {
		return
	}
	p.candidates = append(p.candidates, w)
	if len(p.candidates) < parkThreshold+parkBatch {
		return
	}
	var old []*Worker
	n := 0
	for ; n < len(p.candidates)-parkThreshold; n++ {
		w := p.candidates[n]
		if !w.channel.isOpen() {
			continue // most connections are short
		}
		w.mu.Lock()
		age := now.Sub(w.since)
		w.mu.Unlock()
		if age < parkMinAge {
			break
		}
		old = append(old, w)
	}
	clear(p.candidates[:n])
	p.candidates = p.candidates[n:]
	if err := p.park(old); err != nil && !p.failed {
		s.log.Warn("control channels stay where every spawn has to copy them", logging.Error(err))
		p.failed = true
	}
	if p.disabled() {
		p.candidates = nil
	}
}

// disabled reports whether channels cannot be parked at all. A thread that was
// full has room again when connections have ended.
func (p *parking) disabled() bool { return p.failed && p.thread == nil }

// park moves channels to the thread, which is started when it is needed first.
func (p *parking) park(workers []*Worker) error {
	if len(workers) == 0 {
		return nil
	}
	if p.thread == nil {
		var err error
		if p.thread, err = fdpark.Open(); err != nil {
			return err
		}
	}
	var fds []int
	for _, w := range workers {
		fd, _ := w.channel.descriptor()
		fds = append(fds, fd)
	}
	parked, err := p.thread.Park(fds)
	for i, fd := range parked {
		workers[i].channel.moved(p.thread, fd)
	}
	return err
}

func (p *parking) close() {
	if p.thread != nil {
		p.thread.Close()
	}
}
