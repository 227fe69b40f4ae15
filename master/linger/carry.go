package linger

import (
	"fmt"
	"time"

	"github.com/preforkd/preforkd/master/carry"
)

// Not carried: who waits in Lingering, which is a goroutine of the old program, and the
// deadline of the wait, which follows from the connections.

// A State is the connections that linger, in the state that a master hands to the next
// one.
type State struct {
	Lingering []LingeringState `json:"lingering,omitempty"` // the longest lingering of each kind first
}

// A LingeringState is one of them.
type LingeringState struct {
	FD    carry.FD     `json:"fd"`
	Kind  string       `json:"kind"`
	Until carry.Moment `json:"until"`
	Left  int          `json:"left"` // bytes that may still come
}

// kindNames are the kinds as a state has them.
var kindNames = [kinds]string{Refused: "refused", Served: "served"}

// Pause has Run leave alone what lingers, until Resume. Nobody may call Close or
// CloseFile meanwhile.
func (c *Closer) Pause() { c.reading.Lock() }

// Resume ends Pause, and what Restore has begun.
func (c *Closer) Resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.restored {
		if c.watch(e.fd) != nil {
			c.finish(e)
		}
	}
	if c.restored = nil; len(c.entries) > 0 && c.deadline.IsZero() {
		c.setDeadline(time.Now()) // expire finds the next one
	}
	c.reading.Unlock()
}

// Export returns the state of a Closer that is paused.
func (c *Closer) Export(d *carry.Descriptors) State {
	c.mu.Lock()
	defer c.mu.Unlock()
	var s State
	for kind, queue := range c.queues {
		for _, e := range queue {
			if e.fd >= 0 {
				s.Lingering = append(s.Lingering, LingeringState{d.Keep(e.fd), kindNames[kind], carry.At(e.until), e.left})
			}
		}
	}
	return s
}

// Restore gives a new Closer the connections of a state. It is paused from then on,
// until Resume: nothing is read before that, and nothing closed. Restore is called
// before Run. On error the Closer is of no more use.
func (c *Closer) Restore(s *State, d *carry.Descriptors) error {
	c.Pause()
	c.mu.Lock()
	defer c.mu.Unlock()
	latest := time.Now().Add(MaxTime)
	for i := range s.Lingering {
		l := &s.Lingering[i]
		kind, err := kindOf(l.Kind)
		if err != nil {
			return err
		}
		if l.Left <= 0 {
			return fmt.Errorf("a connection that lingers for %d more bytes", l.Left)
		}
		fd, err := d.Take(l.FD)
		if err != nil {
			return fmt.Errorf("a connection that lingers: %w", err)
		}
		if fd < 0 {
			return fmt.Errorf("a connection that lingers without a descriptor")
		}
		e := &entry{fd: fd, kind: kind, until: l.Until.Time(), left: min(l.Left, MaxBytes)}
		if e.until.After(latest) {
			e.until = latest
		}
		c.entries[fd] = e
		c.queues[kind] = append(c.queues[kind], e)
		c.restored = append(c.restored, e)
	}
	return nil
}

func kindOf(name string) (Kind, error) {
	for kind, n := range kindNames {
		if n == name {
			return Kind(kind), nil
		}
	}
	return 0, fmt.Errorf("a connection that lingers because it was %q", name)
}
