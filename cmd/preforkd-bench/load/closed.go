package load

import (
	"context"
	"net/netip"
	"time"
)

// maxFailures ends a load early: what fails this often is not measured any
// better by going on.
const maxFailures = 1000

// Closed keeps a fixed number of clients busy: each connects, sends a message,
// receives its echo, closes and begins again at once. It ends after d, or
// after count connections when count is not 0; what is open then is finished
// and counts.
func Closed(ctx context.Context, addr netip.AddrPort, clients, count int, d time.Duration) (*Result, error) {
	return ClosedFrom(ctx, addr, ordinarySources(), clients, count, d)
}

// ClosedFrom is Closed from other sources than the ordinary ones.
func ClosedFrom(ctx context.Context, addr netip.AddrPort, sources *Sources, clients, count int, d time.Duration) (*Result, error) {
	e, err := newEngine(addr, clients)
	if err != nil {
		return nil, err
	}
	e.target.sources = sources
	defer e.close()
	err = quiet(func() error {
		start := time.Now()
		e.begins(start)
		begun := 0
		for {
			now := time.Now()
			over := now.Sub(start) >= d || (count > 0 && begun >= count) || e.result.Failed() >= maxFailures
			for !over && len(e.free) > 0 {
				e.begin(now, now)
				begun++
				over = (count > 0 && begun >= count) || e.result.Failed() >= maxFailures
				now = time.Now()
			}
			if over && e.busy() == 0 {
				break
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
