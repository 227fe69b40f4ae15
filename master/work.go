package master

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
)

// work is what a service's workers have done and used, those that are gone. The
// loop owns it.
type work struct {
	exits      map[exit]uint64
	durations  histogram // of connections, in seconds
	peaks      histogram // of workers' memory, in bytes
	in, out    uint64    // bytes that workers have reported
	user, kern time.Duration
}

// An exit is a way to end: by a code, or by a signal, which is then not 0. There
// are 256 of the ones and 64 of the others.
type exit struct {
	code   int
	signal unix.Signal
}

// ended takes a worker into account that was reaped.
func (w *work) ended(e *process.Exit) {
	how := exit{code: e.Status.ExitStatus()}
	if e.Status.Signaled() {
		how = exit{signal: e.Status.Signal()}
	}
	if w.exits == nil {
		w.exits = map[exit]uint64{}
	}
	w.exits[how]++
	w.user += time.Duration(e.Usage.Utime.Nano())
	w.kern += time.Duration(e.Usage.Stime.Nano())
	w.peaks.record(float64(e.Usage.Maxrss<<10), control.MemoryBounds)
}

// served takes a connection into account that has ended.
func (w *work) served(duration time.Duration, report *ipc.Report) {
	w.durations.record(duration.Seconds(), control.DurationBounds)
	if report != nil {
		w.in += report.BytesIn
		w.out += report.BytesOut
	}
}

// show returns a copy for a status.
func (w *work) show() control.Work {
	shown := control.Work{
		Exits:     make([]control.Exit, 0, len(w.exits)),
		Durations: w.durations.show(),
		MaxRSS:    w.peaks.show(),
		BytesIn:   w.in,
		BytesOut:  w.out,
		UserTime:  w.user.Seconds(),
		SysTime:   w.kern.Seconds(),
	}
	for _, how := range slices.SortedFunc(maps.Keys(w.exits), func(a, b exit) int {
		return cmp.Or(cmp.Compare(a.signal, b.signal), cmp.Compare(a.code, b.code))
	}) {
		e := control.Exit{Count: w.exits[how]}
		if how.signal != 0 {
			e.Signal = logging.SignalName(how.signal)
		} else {
			e.Code = &how.code
		}
		shown.Exits = append(shown.Exits, e)
	}
	return shown
}
