package workers

import (
	"testing"
	"time"

	"github.com/preforkd/preforkd/master/process"
)

// large returns a stage with so many workers that scans are expensive.
func large(t *testing.T) (st *stage, all []*Worker) {
	st = newStage(t, "program = ['/bin/cat']\nmax-connections = 5000\n")
	for range largeSet + 2*recentSize {
		all = append(all, st.serving())
	}
	return st, all
}

// Recent workers are reaped by pid at once, the others by a scan after a pause.
func TestReapRecentFirst(t *testing.T) {
	st, all := large(t)
	st.set.reaper.scanTook, st.set.reaper.scannedAt = time.Millisecond, time.Now().Add(time.Hour)
	old, recent := all[0], all[len(all)-1]
	st.die(old)
	st.die(recent)
	if st.set.Reap(false) {
		t.Error("all children were asked for during the pause")
	}
	if st.scans != 0 || st.asked == 0 || !recent.Reaped() || old.Reaped() {
		t.Errorf("%d scans, %d asked by pid, recent reaped %v, old %v", st.scans, st.asked, recent.Reaped(), old.Reaped())
	}
	if st.set.ScanDue() == nil {
		t.Error("no scan is scheduled")
	}
	st.set.Scan(false)
	if !old.Reaped() || st.set.ScanDue() != nil {
		t.Errorf("after the scan: old reaped %v, another scan due %v", old.Reaped(), st.set.ScanDue() != nil)
	}
}

// A master that stops, or has few workers, asks for all of them.
func TestReapAllAtOnce(t *testing.T) {
	st, all := large(t)
	st.set.reaper.scanTook, st.set.reaper.scannedAt = time.Millisecond, time.Now().Add(time.Hour)
	st.die(all[0])
	if !st.set.Reap(true) || !all[0].Reaped() {
		t.Error("a worker is left while the master stops")
	}
	few := newStage(t, sdkProgram)
	w := few.serving()
	few.die(w)
	if !few.set.Reap(false) || !w.Reaped() {
		t.Error("one of few workers is left")
	}
}

// Scans that keep finding recent workers end early, but not for ever.
func TestPartialScans(t *testing.T) {
	st, all := large(t)
	complete := 0
	for i := range 3 * maxPartialScans {
		// One more ends after the recent ones were asked by pid: the kernel
		// finds it first.
		recent := all[len(all)-1-i]
		st.set.reaper.waitPID = func(int) (e process.Exit, ok bool) { return e, false }
		st.die(recent)
		old := all[i]
		st.die(old)
		st.set.Scan(false)
		if !recent.Reaped() {
			t.Fatalf("scan %d has not found the worker that the kernel has first", i)
		}
		if old.Reaped() {
			complete++
		}
	}
	if complete < 2 || complete > 4 {
		t.Errorf("%d of %d scans went on to the end", complete, 3*maxPartialScans)
	}
}

// The pause after a scan grows with the scan, up to a bound.
func TestScanPause(t *testing.T) {
	r := reaper{scannedAt: time.Now().Add(time.Hour)}
	for took, want := range map[time.Duration]time.Duration{
		time.Microsecond: 100 * time.Microsecond, time.Second: maxScanPause,
	} {
		r.scanTook = took
		if got := r.pause() - time.Until(r.scannedAt); got < want-time.Minute || got > want+time.Minute {
			t.Errorf("after %v: %v, want %v", took, got, want)
		}
	}
}
