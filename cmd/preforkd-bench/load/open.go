package load

import (
	"context"
	"net/netip"
	"time"
)

// maxOpen bounds the connections of an open loop that are open at once. At
// the bound the generator waits, and the waiting counts as latency.
const maxOpen = 2000

// Open begins connections at a fixed rate per second for d, whatever the
// server does. Latency is counted from the moment each was due.
func Open(ctx context.Context, addr netip.AddrPort, rate float64, d time.Duration) (*Result, error) {
	e, err := newEngine(addr, maxOpen)
	if err != nil {
		return nil, err
	}
	defer e.close()
	err = quiet(func() error {
		start := time.Now()
		e.begins(start)
		total := int(rate * d.Seconds())
		due := func(i int) time.Time { return start.Add(time.Duration(float64(i) / rate * float64(time.Second))) }
		for next := 0; ; {
			now := time.Now()
			for next < total && len(e.free) > 0 && !now.Before(due(next)) {
				record(e.result.Lag, now.Sub(due(next)))
				e.begin(now, due(next))
				next++
				now = time.Now()
			}
			if e.result.Failed() >= maxFailures {
				next = total
			}
			if next >= total && e.busy() == 0 {
				break
			}
			if next < total && len(e.free) > 0 {
				if err := e.poll.wake(due(next).Sub(now)); err != nil {
					return err
				}
			}
			if err := e.turn(ctx, now); err != nil {
				return err
			}
		}
		e.result.Elapsed = e.last.Sub(start)
		return nil
	})
	return e.result, err
}
