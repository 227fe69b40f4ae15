package ledger

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/process"
)

// fill makes a ledger of random events.
func fill(t *rapid.T, l *Ledger) {
	duration := rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.Int64Range(0, int64(2*maxLatency)).Draw(t, "duration"))
	})
	exits := rapid.SampledFrom([]unix.WaitStatus{0, 1 << 8, 255 << 8, 9, 11})
	for range rapid.IntRange(0, 60).Draw(t, "events") {
		err := rapid.SampledFrom([]error{unix.ENOENT, unix.EAGAIN, errors.New("other"), ErrStopping}).Draw(t, "error")
		now := time.Unix(rapid.Int64Range(1, 1<<33).Draw(t, "now"), 1)
		switch rapid.IntRange(0, 10).Draw(t, "event") {
		case 0:
			l.NoteShortage(now)
		case 1:
			l.Accepted()
			l.Failed(err)
		case 2:
			l.WorkerStarted(duration.Draw(t, "spawn"))
		case 3:
			l.WorkerNotStarted(err, now)
		case 4:
			l.ProgramNotRun(err, now)
		case 5:
			l.ProgramRuns()
		case 6:
			l.HandedOver(duration.Draw(t, "handover"))
		case 7, 8:
			l.Accepted()
			l.Completed(duration.Draw(t, "connection"), &ipc.Report{BytesIn: rapid.Uint64().Draw(t, "in"), BytesOut: 7})
		case 9:
			usage := unix.Rusage{Maxrss: rapid.Int64Range(0, 1<<30).Draw(t, "rss"), Utime: unix.Timeval{Usec: 17}, Stime: unix.Timeval{Sec: 2}}
			l.WorkerExited(&process.Exit{Status: exits.Draw(t, "status"), Usage: usage})
		default:
			l.LimitsMet([]string{rapid.SampledFrom([]string{"memory-max", "denied"}).Draw(t, "limit")})
			l.LeftoversEnded(2)
		}
	}
}

func show(l *Ledger) (s control.Service) {
	l.Show(&s)
	return s
}

func TestCarriedLedgerIsTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l, again Ledger
		fill(t, &l)
		text, err := json.Marshal(l.Export())
		if err != nil {
			t.Fatal(err)
		}
		var s State
		if err := json.Unmarshal(text, &s); err != nil {
			t.Fatal(err)
		}
		if err := again.Restore(&s); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		twice, err := json.Marshal(again.Export())
		if err != nil || string(twice) != string(text) {
			t.Fatalf("%v\n%s\nhas become\n%s", err, text, twice)
		}
		if diff := cmp.Diff(show(&l), show(&again)); diff != "" {
			t.Fatal(diff)
		}
		if a, b := l.Trouble(), again.Trouble(); !a.At.Equal(b.At) || a.Cause != b.Cause || a.exec != b.exec {
			t.Fatalf("trouble %v has become %v", a, b)
		}
		if l.Totals(3) != again.Totals(3) || !l.Shortage().Equal(again.Shortage()) {
			t.Fatal("the totals or the shortage have changed")
		}
		// It counts on, as the first one does.
		for _, l := range []*Ledger{&l, &again} {
			l.HandedOver(5 * time.Millisecond)
			l.WorkerStarted(time.Hour)
			l.Completed(time.Second, nil)
			l.WorkerExited(&process.Exit{Status: 9})
			l.LimitsMet([]string{"denied"})
		}
		if diff := cmp.Diff(show(&l), show(&again)); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestLedgersThatMakeNoSense(t *testing.T) {
	one := HistogramState{Buckets: make([]uint64, len(control.LatencyBounds)), Count: 1}
	full := slices.Clone(one.Buckets)
	full[0], full[1] = math.MaxUint64, 2
	for name, s := range map[string]State{
		"cause":          {Failed: map[string]uint64{"bad luck": 1}},
		"trouble":        {Trouble: &TroubleState{Cause: "bad luck"}},
		"bounds":         {Spawns: LatencyState{Seconds: HistogramState{Buckets: []uint64{1}, Count: 1}}},
		"empty":          {Usage: UsageState{Durations: HistogramState{Sum: 1}}},
		"overflow":       {Handovers: LatencyState{Seconds: HistogramState{Buckets: full, Count: 1}}},
		"no latencies":   {Handovers: LatencyState{Seconds: one}},
		"half a pair":    {Handovers: LatencyState{Micros: []int64{1}, Seconds: one}},
		"too few":        {Handovers: LatencyState{Micros: []int64{1, 1}, Seconds: HistogramState{Buckets: one.Buckets, Count: 2}}},
		"too many":       {Handovers: LatencyState{Micros: []int64{1, math.MaxInt64}, Seconds: one}},
		"none of them":   {Handovers: LatencyState{Micros: []int64{1, 0}, Seconds: one}},
		"before 0":       {Handovers: LatencyState{Micros: []int64{-1, 1}, Seconds: one}},
		"too long":       {Handovers: LatencyState{Micros: []int64{math.MaxInt64, 1}, Seconds: one}},
		"signal":         {Usage: UsageState{Exits: []ExitState{{Signal: 65, Count: 1}}}},
		"code":           {Usage: UsageState{Exits: []ExitState{{Code: -1, Count: 1}}}},
		"both":           {Usage: UsageState{Exits: []ExitState{{Code: 1, Signal: 9, Count: 1}}}},
		"twice":          {Usage: UsageState{Exits: []ExitState{{Code: 1, Count: 1}, {Code: 1, Count: 1}}}},
		"time goes back": {Usage: UsageState{UserTime: -1}},
		"max_rss":        {Usage: UsageState{MaxRSS: HistogramState{Count: 1}}},
	} {
		if err := new(Ledger).Restore(&s); err == nil {
			t.Errorf("%s: %+v was taken", name, s)
		}
	}
}

func TestTotalsOfMoreThanHaveCome(t *testing.T) {
	for totals, ok := range map[Totals]bool{
		{}:                                     true,
		{6, 1, 2, 3}:                           true,
		{7, 1, 2, 3}:                           true,
		{5, 1, 2, 3}:                           false,
		{0, math.MaxUint64, 1, 0}:              false,
		{math.MaxUint64, math.MaxUint64, 1, 0}: false,
	} {
		if err := totals.Check(); (err == nil) != ok {
			t.Errorf("%+v: %v", totals, err)
		}
	}
}
