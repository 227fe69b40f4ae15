package master

import (
	"context"

	"github.com/preforkd/preforkd/master/control"
)

// ask has the loop run f between two events, and waits for it. f is to do what
// only the loop may, and no more: accepting and reaping wait for it.
func (m *Master) ask(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case m.asked <- func() { defer close(done); f() }:
		<-done
		return nil
	case <-m.over:
		return control.Errorf(control.Unavailable, "the master has just ended")
	case <-ctx.Done():
		return ctx.Err()
	}
}
