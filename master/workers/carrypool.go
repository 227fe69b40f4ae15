package workers

import (
	"time"

	"github.com/preforkd/preforkd/master/backoff"
	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/service"
)

// A PoolState is a Pool in the state that a master hands to the next one, without its
// workers: these say to which Spec's they belong.
type PoolState struct {
	Spec         int           `json:"spec"`
	Target       int           `json:"target"`
	LastAssigned carry.Moment  `json:"last_assigned"`
	LastMiss     carry.Moment  `json:"last_miss"`
	LastPause    time.Duration `json:"last_pause"` // ns, after spares that failed
	BackoffUntil carry.Moment  `json:"backoff_until"`
}

// Export returns the state of a pool from which nobody takes.
func (p *Pool) Export(specs *service.SpecRecorder) PoolState {
	p.mu.Lock()
	defer p.mu.Unlock()
	return PoolState{specs.Number(p.spec), p.target, carry.At(p.lastAssigned), carry.At(p.lastMiss), p.failures.Export(), carry.At(p.backoffUntil)}
}

// Restore gives a new pool what a state says.
func (p *Pool) Restore(s *PoolState) (err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failures, err = backoff.Restore(s.LastPause); err != nil {
		return err
	}
	p.target = min(max(s.Target, p.min), p.max)
	now := time.Now()
	p.lastAssigned, p.lastMiss = notAfter(now, s.LastAssigned), notAfter(now, s.LastMiss)
	p.backoffUntil = notAfter(now.Add(backoff.Max), s.BackoffUntil)
	return nil
}

// notAfter returns a moment of a state, or the latest that it can be.
func notAfter(latest time.Time, m carry.Moment) time.Time {
	if t := m.Time(); t.Before(latest) {
		return t
	}
	return latest
}
