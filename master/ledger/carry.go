package ledger

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/control"
)

// A State is a Ledger in the state that a master hands to the next one. All of the Ledger
// is carried. Times of day are in nanoseconds since 1970, because only people read them.
type State struct {
	Accepted  uint64            `json:"accepted"`
	Shortage  int64             `json:"shortage,omitempty"` // 0: never
	Failed    map[string]uint64 `json:"failed,omitempty"`   // by cause
	Completed uint64            `json:"completed"`
	Spawns    LatencyState      `json:"spawns"`
	Handovers LatencyState      `json:"handovers"`
	Usage     UsageState        `json:"usage"`
	Trouble   *TroubleState     `json:"trouble,omitempty"`
}

// A TroubleState is a Trouble in a State.
type TroubleState struct {
	At    int64  `json:"at"`
	Cause string `json:"cause"`
	Exec  bool   `json:"exec,omitempty"`
}

// A HistogramState is a histogram in a State. Its bounds are part of the format.
type HistogramState struct {
	Buckets []uint64 `json:"buckets,omitempty"` // by bound; each without the smaller ones
	Count   uint64   `json:"count,omitempty"`
	Sum     float64  `json:"sum,omitempty"`
}

// A LatencyState is a latency in a State.
type LatencyState struct {
	Micros  []int64        `json:"micros,omitempty"` // pairs of a latency in microseconds, and how often there was about that one
	Seconds HistogramState `json:"seconds"`
}

// A UsageState is what a service's workers have done and used, in a State. Times are in
// nanoseconds.
type UsageState struct {
	Exits     []ExitState       `json:"exits,omitempty"`
	Durations HistogramState    `json:"durations"`
	MaxRSS    HistogramState    `json:"max_rss"`
	In        uint64            `json:"in,omitempty"`
	Out       uint64            `json:"out,omitempty"`
	UserTime  int64             `json:"user_time,omitempty"`
	SysTime   int64             `json:"sys_time,omitempty"`
	Limits    map[string]uint64 `json:"limits,omitempty"`
	Leftovers uint64            `json:"leftovers,omitempty"`
}

// An ExitState says how often workers have ended in one way.
type ExitState struct {
	Code   int    `json:"code,omitempty"`
	Signal int    `json:"signal,omitempty"`
	Count  uint64 `json:"count"`
}

// Export returns the state of the ledger.
func (l *Ledger) Export() State {
	s := State{
		Accepted:  l.accepted.Load(),
		Shortage:  l.shortage.Load(),
		Completed: l.completed,
		Spawns:    l.spawns.export(),
		Handovers: l.handovers.export(),
		Usage:     l.usage.export(),
	}
	for cause, n := range l.failed {
		if n > 0 {
			if s.Failed == nil {
				s.Failed = map[string]uint64{}
			}
			s.Failed[causeNames[cause]] = n
		}
	}
	if t := l.trouble; t != (Trouble{}) {
		s.Trouble = &TroubleState{t.At.UnixNano(), t.Cause.String(), t.exec}
	}
	return s
}

// Restore makes a zero Ledger what another one was. On error it is of no use.
func (l *Ledger) Restore(s *State) error {
	l.accepted.Store(s.Accepted)
	l.shortage.Store(s.Shortage)
	l.completed = s.Completed
	for name, n := range s.Failed {
		cause, err := causeNamed(name)
		if err != nil {
			return err
		}
		l.failed[cause] = n
	}
	if t := s.Trouble; t != nil {
		cause, err := causeNamed(t.Cause)
		if err != nil {
			return err
		}
		l.trouble = Trouble{At: time.Unix(0, t.At), Cause: cause, exec: t.Exec}
	}
	if err := l.spawns.restore(&s.Spawns); err != nil {
		return fmt.Errorf("spawns: %w", err)
	}
	if err := l.handovers.restore(&s.Handovers); err != nil {
		return fmt.Errorf("handovers: %w", err)
	}
	return l.usage.restore(&s.Usage)
}

func causeNamed(name string) (Cause, error) {
	if i := slices.Index(causeNames[:], name); i >= 0 {
		return Cause(i), nil
	}
	return 0, fmt.Errorf("there is no cause %q of a failure", name)
}

// Check returns an error if more connections have ended than have come.
func (t Totals) Check() error {
	left := t.Accepted
	for _, n := range []uint64{t.Refused, t.Failed, t.Completed} {
		if n > left {
			return fmt.Errorf("%d connections have come, but %d were refused, %d failed and %d served", t.Accepted, t.Refused, t.Failed, t.Completed)
		}
		left -= n
	}
	return nil
}

func (h *histogram) export() HistogramState {
	return HistogramState{slices.Clone(h.buckets), h.count, h.sum}
}

func (h *histogram) restore(s *HistogramState, bounds []float64) error {
	if s.Count == 0 {
		if len(s.Buckets) > 0 || s.Sum != 0 {
			return fmt.Errorf("an empty histogram has %d buckets and the sum %v", len(s.Buckets), s.Sum)
		}
		return nil
	}
	if len(s.Buckets) != len(bounds) {
		return fmt.Errorf("a histogram has %d buckets, and this version has %d", len(s.Buckets), len(bounds))
	}
	left := s.Count
	for _, n := range s.Buckets {
		if n > left {
			return fmt.Errorf("a histogram of %d values has more in its buckets", s.Count)
		}
		left -= n
	}
	*h = histogram{slices.Clone(s.Buckets), s.Count, s.Sum}
	return nil
}

func (l *latency) export() LatencyState {
	s := LatencyState{Seconds: l.seconds.export()}
	if l.micros == nil {
		return s
	}
	for _, bar := range l.micros.Distribution() {
		if bar.Count > 0 {
			s.Micros = append(s.Micros, bar.From, bar.Count)
		}
	}
	return s
}

func (l *latency) restore(s *LatencyState) error {
	if err := l.seconds.restore(&s.Seconds, control.LatencyBounds); err != nil {
		return err
	}
	if l.seconds.count > math.MaxInt64 || len(s.Micros)%2 != 0 || len(s.Micros) == 0 != (l.seconds.count == 0) {
		return fmt.Errorf("%d latencies have %d numbers", l.seconds.count, len(s.Micros))
	}
	left := int64(l.seconds.count)
	for pair := range slices.Chunk(s.Micros, 2) {
		if l.micros == nil {
			l.micros = newMicros()
		}
		if pair[1] <= 0 || pair[1] > left {
			return fmt.Errorf("%d latencies of %d µs, and there are %d", pair[1], pair[0], l.seconds.count)
		}
		left -= pair[1]
		if pair[0] < 0 {
			return fmt.Errorf("a latency of %d µs", pair[0])
		}
		if err := l.micros.RecordValues(pair[0], pair[1]); err != nil {
			return fmt.Errorf("a latency of %d µs: %w", pair[0], err)
		}
	}
	if left != 0 {
		return fmt.Errorf("of %d latencies %d are missing", l.seconds.count, left)
	}
	return nil
}

func (u *usage) export() UsageState {
	s := UsageState{
		Durations: u.durations.export(),
		MaxRSS:    u.maxRSS.export(),
		In:        u.in,
		Out:       u.out,
		UserTime:  int64(u.userTime),
		SysTime:   int64(u.sysTime),
		Limits:    maps.Clone(u.limits),
		Leftovers: u.leftovers,
	}
	for _, how := range u.sortedExits() {
		s.Exits = append(s.Exits, ExitState{how.code, int(how.signal), u.exits[how]})
	}
	return s
}

func (u *usage) restore(s *UsageState) error {
	if err := u.durations.restore(&s.Durations, control.DurationBounds); err != nil {
		return fmt.Errorf("durations: %w", err)
	}
	if err := u.maxRSS.restore(&s.MaxRSS, control.MemoryBounds); err != nil {
		return fmt.Errorf("max_rss: %w", err)
	}
	if s.UserTime < 0 || s.SysTime < 0 {
		return fmt.Errorf("workers have used %d and %d ns", s.UserTime, s.SysTime)
	}
	for _, e := range s.Exits {
		how := exit{e.Code, unix.Signal(e.Signal)}
		switch {
		case e.Code < 0 || e.Code > 255 || e.Signal < 0 || e.Signal > 64 || e.Code != 0 && e.Signal != 0:
			return fmt.Errorf("workers have exited with code %d and signal %d", e.Code, e.Signal)
		case u.exits == nil:
			u.exits = map[exit]uint64{}
		}
		if u.exits[how] != 0 {
			return fmt.Errorf("exits with code %d and signal %d are there twice", e.Code, e.Signal)
		}
		u.exits[how] = e.Count
	}
	u.in, u.out, u.userTime, u.sysTime = s.In, s.Out, time.Duration(s.UserTime), time.Duration(s.SysTime)
	u.limits, u.leftovers = maps.Clone(s.Limits), s.Leftovers
	return nil
}
