package dispatch

import (
	"time"

	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/workers"
)

// keepFilled starts spares whenever a pool wants one, until the pool is closed.
func (d *Dispatcher) keepFilled(p *workers.Pool) {
	for !p.Closed() {
		started, wait := d.StartSpare(p, time.Now())
		if started {
			continue
		}
		var next <-chan time.Time // never, unless the pool says so
		if wait > 0 {
			next = time.After(wait)
		}
		select {
		case <-next:
		case <-p.Wake():
		case <-d.cfg.Stopping:
			return
		}
	}
}

// StartSpare starts one spare if the pool wants one now. Otherwise it returns
// how long to wait before the next attempt makes sense, or 0 for until the pool
// says so. The outcome is told to the loop.
func (d *Dispatcher) StartSpare(p *workers.Pool, now time.Time) (started bool, wait time.Duration) {
	if started, wait = d.reserve(p, now); !started {
		return false, wait
	}
	w := workers.NewSpare(p, now)
	err := w.Start(d.cfg.Starter)
	if err != nil {
		p.Failed(time.Now(), true)
		w.Owner().Log.Error(logging.EventSpawnFailed, logging.Reason("spare"), logging.Error(err))
	}
	d.outcomes.add(Outcome{w, nil, err, time.Since(now)}, true)
	return true, 0
}

// reserve takes the right to start a spare, and counts the start. While filling is
// paused it waits.
func (d *Dispatcher) reserve(p *workers.Pool, now time.Time) (start bool, wait time.Duration) {
	d.filling.RLock()
	defer d.filling.RUnlock()
	if start, wait = p.ReserveStart(now); start {
		d.inFlight.Add(1)
	}
	return start, wait
}
