package workers

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/ipc/fdtest"
	"github.com/preforkd/preforkd/master/fdpark"
	"github.com/preforkd/preforkd/master/process"
)

const sdkProgram = "program = ['/bin/cat']\nhandoff = 'worker'\nmax-connections = 5000\n"

// served registers a worker that has served its nth connection since then.
func (st *stage) served(n int, since time.Time) *Worker {
	w := NewWorker(st.pool, st.connection())
	w.served, w.since = n, since
	st.set.Register(st.start(w))
	st.set.ParkIfIdle(w, time.Now())
	return w
}

// crowd registers workers that have served their last connection for long.
func (st *stage) crowd(n int) {
	for range n {
		st.served(st.pool.spec.ConnectionsPerWorker, time.Now().Add(-time.Minute))
	}
}

// near counts the workers whose channels are among the master's descriptors.
func (st *stage) near() (n int) {
	for w := range st.set.All() {
		if isNear(w) {
			n++
		}
	}
	return n
}

func isNear(w *Worker) bool { _, near := w.channel.descriptor(); return near }

const mostNear = parkThreshold + parkBatch

// A worker that serves one short connection after the other does not keep the
// channels from being parked of those that were started after it.
func TestParkBehindReused(t *testing.T) {
	st := newStage(t, sdkProgram+"spares = 1\nconnections-per-worker = 1000\n")
	reused := st.served(1, time.Now().Add(time.Hour))
	st.crowd(3 * mostNear)
	if n := st.near(); n > mostNear {
		t.Errorf("%d channels are near, want at most %d", n, mostNear)
	}
	if !isNear(reused) {
		t.Error("the channel of a worker that may be given another connection is parked")
	}
	if n := len(st.set.parking.candidates); n > mostNear {
		t.Errorf("%d workers are remembered, want at most %d", n, mostNear)
	}
}

// A spare that has waited for long is as any other once it serves.
func TestParkSpare(t *testing.T) {
	st := newStage(t, sdkProgram+"spares = 1\n")
	spare := st.spare(time.Now().Add(-time.Minute))
	spare.since = time.Now().Add(-time.Minute)
	st.crowd(2 * mostNear)
	if !isNear(spare) {
		t.Fatal("the channel of a spare is parked")
	}
	if st.pool.Assign(st.connection(), time.Now()) != spare {
		t.Fatal("the spare was not given the connection")
	}
	st.say(spare, ipc.Ack)
	st.set.Read(spare)
	spare.since = time.Now().Add(-time.Minute)
	st.crowd(2 * mostNear)
	if isNear(spare) {
		t.Error("the channel of a spare that has served for long is not parked")
	}
}

// Connections are given to spares by others than the loop, at any time.
func TestParkWhileAssigning(t *testing.T) {
	st := newStage(t, sdkProgram+"spares = 1\n")
	spare := st.spare(time.Now())
	c, given := st.connection(), make(chan *Worker)
	go func() { given <- st.pool.Assign(c, time.Now()) }()
	st.crowd(2 * mostNear)
	if <-given != spare {
		t.Error("the spare was not given the connection")
	}
}

// A pid that is used again while the first to have it is remembered is another
// worker's.
func TestParkReusedPID(t *testing.T) {
	st := newStage(t, sdkProgram)
	young := st.served(1, time.Now().Add(time.Hour))
	gone := st.served(1, time.Now().Add(-time.Minute))
	st.die(gone)
	st.set.ReapAll()
	st.nextPID--
	st.crowd(2 * mostNear)
	young.since = time.Now().Add(-time.Minute)
	before, near := fdtest.Open(t), st.near()
	st.crowd(1)
	// Those that went, but for the socket to the thread, and what came: a pair
	// for the control channel, and the client's end of the connection.
	parked := near + 1 - st.near()
	if now := fdtest.Open(t); parked == 0 || now != before-parked+4 {
		t.Errorf("%d descriptors are left of %d, and %d channels were parked", now, before, parked)
	}
	report, err := (&ipc.Report{Reason: ipc.ReasonEOF}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	for w := range st.set.All() {
		st.say(w, report)
		if st.set.Read(w); w.Report() == nil {
			t.Fatalf("worker %d was not heard, violation %v", w.PID(), w.Violation())
		}
	}
}

// A thread that was full once has room again when connections end.
func TestParkAfterFull(t *testing.T) {
	st := newStage(t, sdkProgram)
	st.crowd(mostNear - 1)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	w := NewWorker(st.pool, st.connection())
	w.since = time.Now().Add(-time.Minute)
	st.start(w)
	// Room for what the thread needs itself, and not for so many channels.
	few := old
	few.Cur = parkBatch / 2
	var err error
	if st.set.parking.thread, err = fdpark.Open(); err != nil {
		t.Fatal(err)
	}
	st.set.Register(w)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	st.set.ParkIfIdle(w, time.Now())
	unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
	if n := st.near(); n != mostNear {
		t.Fatalf("%d channels are near, want all %d", n, mostNear)
	}
	// During the pause after that nothing is tried, and short connections are not
	// remembered for ever.
	for range 4 * mostNear {
		short := st.served(1, time.Now().Add(-time.Minute))
		st.die(short)
		st.set.ReapAll()
	}
	if n, remembered := st.near(), len(st.set.parking.candidates); n != mostNear || remembered > 3*mostNear {
		t.Errorf("%d channels are near, want %d, and %d are remembered", n, mostNear, remembered)
	}
	st.set.parking.retryAt = time.Now() // the pause is over
	st.crowd(3 * mostNear)
	if n := st.near(); n > mostNear {
		t.Errorf("%d channels are near, want at most %d", n, mostNear)
	}
	if n := st.logs.FilterMessageSnippet("control channels stay").Len(); n != 1 {
		t.Errorf("the log says so %d times, want once", n)
	}
}

// A leavingCell is one whose worker leaves something behind.
type leavingCell struct {
	t    *testing.T
	left bool
	done func(process.Remains)
}

func (c *leavingCell) Holds() bool                    { return true }
func (c *leavingCell) CPUTime() (time.Duration, bool) { return 0, false }

func (c *leavingCell) Leave(done func(process.Remains)) (process.Remains, bool) {
	c.left, c.done = true, done
	return process.Remains{}, false
}

func (c *leavingCell) Descriptors() []int {
	if c.left {
		c.t.Error("a cell that was given back is asked for its descriptors")
	}
	return []int{0}
}

func (c *leavingCell) ParkedDescriptors() []int { return nil }
func (c *leavingCell) TakenBack([]int)          {}

func (c *leavingCell) Serves(*os.File) {}

func (c *leavingCell) Parked(do func(func()), copies []int) {
	if c.left {
		c.t.Error("a cell that was given back is parked")
	}
}

// A cell that was given back is its box's, and its descriptors may be somebody else's by
// now, while the copy of the connection is still the worker's.
func TestParkAfterCellWasLeft(t *testing.T) {
	st := newStage(t, stdioProgram)
	w, _ := st.program(time.Now().Add(-time.Minute))
	cell := &leavingCell{t: t}
	w.child.Cell = cell
	c := w.Connection()
	st.die(w)
	st.set.ReapAll()
	if !cell.left || w.copyNear() < 0 {
		t.Fatal("the worker is not leaving")
	}
	for range 2 * mostNear {
		st.program(time.Now().Add(-time.Minute))
	}
	if w.copyNear() >= 0 {
		t.Error("the copy of the connection was not parked")
	}
	cell.done(process.Remains{})
	st.set.TakeCells()
	st.set.EndConnection(w, c)
}
