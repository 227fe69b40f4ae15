package ledger

import (
	"errors"
	"math"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/process"
)

// Whatever becomes of connections, in any order, the totals add up.
func TestTotalsAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l Ledger
		var refused, live uint64
		end := func(t *rapid.T, count func()) {
			if live == 0 {
				t.Skip("none is alive")
			}
			live--
			count()
		}
		t.Repeat(map[string]func(*rapid.T){
			"accept":   func(*rapid.T) { l.Accepted(); live++ },
			"refuse":   func(t *rapid.T) { end(t, func() { refused++ }) },
			"fail":     func(t *rapid.T) { end(t, func() { l.Failed(unix.EAGAIN) }) },
			"complete": func(t *rapid.T) { end(t, func() { l.Completed(time.Second, nil) }) },
			"": func(t *rapid.T) {
				if got := l.Totals(refused); got.Live() != live {
					t.Fatalf("%+v: %d live, want %d", got, got.Live(), live)
				}
			},
		})
		all := l.Totals(refused)
		all.Add(all)
		if want := 2 * l.Totals(refused).Accepted; all.Accepted != want || all.Live() != 2*live {
			t.Fatalf("added to itself: %+v", all)
		}
	})
}

// A worker that lies about its bytes cannot wrap the counters of the others.
func TestReportsDoNotWrap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l Ledger
		var shown control.Service
		var before uint64
		for _, n := range rapid.SliceOfN(rapid.OneOf(rapid.Uint64(), rapid.Just(uint64(math.MaxUint64))), 1, 3000).Draw(t, "reports") {
			l.Completed(time.Second, &ipc.Report{BytesIn: n, BytesOut: n})
		}
		l.Show(&shown)
		before = shown.Work.BytesIn
		l.Completed(time.Second, &ipc.Report{BytesIn: 1, BytesOut: math.MaxUint64})
		l.Show(&shown)
		if shown.Work.BytesIn < before || shown.Work.BytesOut < before {
			t.Fatalf("%d bytes before, %d and %d after", before, shown.Work.BytesIn, shown.Work.BytesOut)
		}
	})
	var l Ledger
	var shown control.Service
	l.Completed(time.Second, &ipc.Report{BytesIn: math.MaxUint64, BytesOut: 5})
	l.Completed(time.Second, &ipc.Report{BytesIn: 7, BytesOut: 5})
	if l.Show(&shown); shown.Work.BytesIn != maxReported+7 || shown.Work.BytesOut != 10 {
		t.Errorf("in %d, out %d", shown.Work.BytesIn, shown.Work.BytesOut)
	}
	if got := addReported(math.MaxUint64-1, 5); got != math.MaxUint64 {
		t.Errorf("a counter at its end is %d", got)
	}
}

// A failure to start a worker is trouble until one was started.
func TestTrouble(t *testing.T) {
	var l Ledger
	now := time.Unix(1000, 0)
	if l.Trouble() != (Trouble{}) || !l.Shortage().IsZero() {
		t.Error("a new ledger has trouble")
	}
	l.WorkerNotStarted(errors.New("strange"), now)
	l.WorkerNotStarted(unix.ENOENT, now.Add(time.Second))
	if got := l.Trouble(); got.Cause.String() != "program-missing" || !got.At.Equal(now.Add(time.Second)) {
		t.Errorf("%+v", got)
	}
	l.WorkerStarted(time.Millisecond)
	if l.Trouble() != (Trouble{}) {
		t.Error("a worker was started, and the trouble is still there")
	}
	// A process was started, and could not become its program: the next process
	// proves nothing until it runs the program.
	l.ProgramNotRun(unix.ENOEXEC, now)
	l.WorkerStarted(time.Millisecond)
	if got := l.Trouble(); got.Cause.String() != "program-unusable" || !got.At.Equal(now) {
		t.Errorf("%+v", got)
	}
	l.ProgramRuns()
	if l.Trouble() != (Trouble{}) {
		t.Error("the program runs, and the trouble is still there")
	}
	l.NoteShortage(now)
	if !l.Shortage().Equal(now) {
		t.Errorf("shortage at %v", l.Shortage())
	}
}

// What is recorded is what a status shows.
func TestShow(t *testing.T) {
	var l Ledger
	exit := process.Exit{Status: 3 << 8}
	exit.Usage.Utime.Sec, exit.Usage.Stime.Sec, exit.Usage.Maxrss = 2, 1, 2048
	l.WorkerExited(&exit)
	l.WorkerExited(&process.Exit{Status: unix.WaitStatus(unix.SIGKILL)})
	l.Failed(unix.ENOENT)
	l.HandedOver(time.Millisecond)
	l.Completed(2*time.Second, &ipc.Report{BytesIn: 1, BytesOut: 2})
	var shown control.Service
	l.Show(&shown)
	w := shown.Work
	if len(w.Exits) != 2 || *w.Exits[0].Code != 3 || w.Exits[1].Signal != "SIGKILL" || w.UserTime != 2 || w.SysTime != 1 ||
		w.MaxRSS.Sum != 2<<20 || w.Durations.Sum != 2 || w.BytesIn != 1 || w.BytesOut != 2 {
		t.Errorf("%+v", w)
	}
	if shown.FailedByCause["program-missing"] != 1 || len(shown.FailedByCause) != 1 || shown.HandoverLatency.Count != 1 || shown.SpawnLatency != nil {
		t.Errorf("%+v", shown)
	}
}
