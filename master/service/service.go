package service

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/ledger"
	"github.com/preforkd/preforkd/master/logging"
)

// A Service is what the master keeps of a service by its name, whatever a reload
// makes of its configuration:
//
//  1. who holds its slots, and what it remembers of sources (Gate);
//  2. what became of its connections (Ledger);
//  3. how many refusals the log has kept silent about (Refusals), and since when
//     it is full (Congestion);
//  4. whether it is draining, which is a matter of the name: connections and
//     workers of every Spec of it have to know;
//  5. the Spec in force;
//  6. whether the log has said that its workers are not fully confined;
//  7. whether the master cannot tell how long connections have been idle;
//  8. of which keys of its box the log has said that they are missing here;
//  9. which configuration it was part of last.
type Service struct {
	Name     string
	Log      *zap.Logger // with the service's name, which takes a kilobyte from its first event on
	Gate     *admit.Gate
	Ledger   ledger.Ledger
	Refusals admit.Refusals
	// Congestion is when it was full and clients had to wait.
	Congestion admit.Congestion

	// IdleUnknown belongs to the master's loop.
	IdleUnknown IdleUnknown

	// Generation is the number of the last configuration that the service was part of.
	// It belongs to the master's loop.
	Generation uint64

	// missingTold holds keys of the box. It belongs to the master's loop.
	missingTold map[string]bool

	unconfinedTold atomic.Bool // the event of it, in TakeUnconfinedNote

	log  *zap.Logger // of the master
	spec atomic.Pointer[Spec]

	mu       sync.Mutex // guards what follows
	draining bool
	drained  chan struct{} // closed by Drain; another one after Resume; nil before somebody asks for it
}

// An IdleUnknown is why the master cannot tell how long connections of a service
// have been idle, and so does not enforce idle-timeout where a worker does not.
type IdleUnknown struct {
	reason error
	logged bool
}

// Note notes the reason, nil when the master could tell. It reports whether the
// log has not said so yet.
func (u *IdleUnknown) Note(reason error) (news bool) {
	news = reason != nil && !u.logged
	u.reason, u.logged = reason, u.logged || news
	return news
}

// Reason returns the reason, or nil.
func (u *IdleUnknown) Reason() error { return u.reason }

// New returns a service that has no Spec in force yet.
func New(name string, policy admit.Policy, log *zap.Logger) *Service {
	s := newService(name, log)
	s.Gate = admit.NewGate(policy, time.Now(), rand.Float64)
	return s
}

// newService returns a service without a gate.
func newService(name string, log *zap.Logger) *Service {
	return &Service{Name: name, Log: log.WithLazy(logging.Service(name)), log: log}
}

// LogOnce logs what every service has an event of, also those that have none after it.
func (s *Service) LogOnce(event string, fields ...zap.Field) {
	s.log.Info(event, append([]zap.Field{logging.Service(s.Name)}, fields...)...)
}

// SetOwner makes the service the one that a Spec belongs to. It comes before anybody
// else sees the Spec.
func (s *Service) SetOwner(spec *Spec) { spec.service = s }

// Spec returns the one in force.
func (s *Service) Spec() *Spec { return s.spec.Load() }

// Install puts a Spec of the service in force, and ends a drain.
func (s *Service) Install(spec *Spec, now time.Time) {
	s.spec.Store(spec)
	s.Gate.SetPolicy(spec.policy, now)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		s.draining, s.drained = false, nil
	}
}

// Replace puts a Spec in force that differs from the present one in its box only. A
// service that drains goes on draining.
func (s *Service) Replace(spec *Spec) { s.spec.Store(spec) }

// Drain makes the service one whose connections come to an end. It reports
// whether it was not before.
func (s *Service) Drain() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	s.draining = true
	if s.drained == nil {
		s.drained = make(chan struct{})
	}
	close(s.drained)
	return true
}

// Draining reports whether the service was drained and not installed since.
func (s *Service) Draining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining
}

// Drained returns a channel that is closed while the service is draining.
func (s *Service) Drained() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drained == nil {
		s.drained = make(chan struct{})
	}
	return s.drained
}

// Totals returns the counts of the service's connections.
func (s *Service) Totals() ledger.Totals {
	counts := s.Gate.Counts()
	return s.Ledger.Totals(counts.Total())
}
