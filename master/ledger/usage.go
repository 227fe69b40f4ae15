package ledger

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
)

// usage is what a service's workers have done and used, those that have been
// reaped. The zero usage is empty.
type usage struct {
	exits             map[exit]uint64
	durations         histogram // of connections, in seconds
	maxRSS            histogram // of workers, in bytes
	in, out           uint64    // bytes that workers have reported
	userTime, sysTime time.Duration
	limits            map[string]uint64 // how often connections met limits of their boxes
	leftovers         uint64            // processes that workers have left behind and the master has ended
}

// An exit is a way to end: with a code, or by a signal, which is then not 0.
// There are 256 codes and 64 signals.
type exit struct {
	code   int
	signal unix.Signal
}

// worker adds a worker that was reaped.
func (u *usage) worker(e *process.Exit) {
	how := exit{code: e.Status.ExitStatus()}
	if e.Status.Signaled() {
		how = exit{signal: e.Status.Signal()}
	}
	if u.exits == nil {
		u.exits = map[exit]uint64{}
	}
	u.exits[how]++
	u.userTime += time.Duration(e.Usage.Utime.Nano())
	u.sysTime += time.Duration(e.Usage.Stime.Nano())
	u.maxRSS.record(float64(e.Usage.Maxrss<<10), control.MemoryBounds) // getrusage(2): KiB
}

// connection adds a connection that has ended.
func (u *usage) connection(duration time.Duration, report *ipc.Report) {
	u.durations.record(duration.Seconds(), control.DurationBounds)
	if report != nil {
		u.in = addReported(u.in, report.BytesIn)
		u.out = addReported(u.out, report.BytesOut)
	}
}

// maxReported is the most that one report may add to a counter: 8 PiB, more
// than a connection of a year carries at 2 Gbit/s, and a number that a float64
// and a JSON reader hold exactly. A worker is not trusted, and one that lies
// must not be able to wrap a counter for all others.
const maxReported = 1 << 53

// addReported adds what a worker has reported to a counter, which never wraps.
func addReported(counter, reported uint64) uint64 {
	sum := counter + min(reported, maxReported)
	if sum < counter {
		return math.MaxUint64
	}
	return sum
}

// show returns a copy for a status.
func (u *usage) show() control.Work {
	shown := control.Work{
		Exits:     make([]control.Exit, 0, len(u.exits)),
		Durations: u.durations.show(),
		MaxRSS:    u.maxRSS.show(),
		BytesIn:   u.in,
		BytesOut:  u.out,
		UserTime:  u.userTime.Seconds(),
		SysTime:   u.sysTime.Seconds(),
		Leftovers: u.leftovers,
	}
	if len(u.limits) > 0 {
		shown.Limits = maps.Clone(u.limits)
	}
	for _, how := range u.sortedExits() {
		e := control.Exit{Count: u.exits[how]}
		if how.signal != 0 {
			e.Signal = logging.SignalName(how.signal)
		} else {
			e.Code = &how.code
		}
		shown.Exits = append(shown.Exits, e)
	}
	return shown
}

// sortedExits returns the ways in which workers have ended, in an order that does not
// change.
func (u *usage) sortedExits() []exit {
	return slices.SortedFunc(maps.Keys(u.exits), func(a, b exit) int {
		return cmp.Or(cmp.Compare(a.signal, b.signal), cmp.Compare(a.code, b.code))
	})
}
