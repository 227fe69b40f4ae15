package master

import (
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/master/admit"
)

// books are what is kept of a service by its name, whatever becomes of its
// configuration: who holds its slots, and what became of its connections. At
// any moment accepted = refused + failed + reaped + live, where refused is the
// gate's count.
type books struct {
	gate     *admit.Gate
	refusals admit.Refusals
	pending  pending // connections whose PROXY header has not come yet

	accepted atomic.Uint64 // connections taken from the kernel
	shortage atomic.Int64  // when accepting last had to wait for resources; in ns since 1970

	// The loop's:

	failed [causes]uint64 // closed because no worker could be started
	reaped uint64         // served by a worker that has ended, or has gone on to the next

	spawns    latency // of workers, from the connection or the decision to their exec
	handovers latency // to spares, from the assignment to their word that they have it
	work      work
	failedAt  time.Time // when a spawn last failed, if none has succeeded since
	failedFor cause
}

func newBooks(p admit.Policy) *books {
	return &books{gate: admit.NewGate(p, time.Now(), rand.Float64)}
}

// sums are the counts of one or all services.
type sums struct{ accepted, refused, failed, reaped uint64 }

// sums returns the counts. The number of those accepted is read last, so that
// there is none missing among them of whom the rest tells.
func (b *books) sums() sums {
	counts := b.gate.Counts()
	s := sums{refused: counts.Total(), reaped: b.reaped}
	for _, n := range b.failed {
		s.failed += n
	}
	s.accepted = b.accepted.Load()
	return s
}

// live returns how many connections are alive, those under way included.
func (s sums) live() uint64 { return s.accepted - s.refused - s.failed - s.reaped }

func (s sums) fields() []zap.Field {
	return []zap.Field{
		zap.Uint64("accepted", s.accepted),
		zap.Uint64("refused", s.refused),
		zap.Uint64("failed", s.failed),
		zap.Uint64("reaped", s.reaped),
	}
}

func (s *sums) add(other sums) {
	s.accepted += other.accepted
	s.refused += other.refused
	s.failed += other.failed
	s.reaped += other.reaped
}

// sums returns the counts of all services that there are and were.
func (m *Master) sums() sums {
	all := m.past
	for _, b := range m.books {
		all.add(b.sums())
	}
	return all
}

// closeBooks gives up the books of services that are gone, and were before the
// last reload, once their last connection has ended. Only their sums are kept.
func (m *Master) closeBooks(before, now []*service) {
	names := map[string]bool{}
	for _, s := range append(slices.Clone(before), now...) {
		names[s.Name] = true
	}
	for name, b := range m.books {
		if s := b.sums(); !names[name] && s.live() == 0 {
			m.past.add(s)
			delete(m.books, name)
		}
	}
}
