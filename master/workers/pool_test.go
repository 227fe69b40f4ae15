package workers

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/ipc/fdtest"
)

// A spare is not replaced at the expense of the connection that it was given,
// unless spares are about to run out.
func TestRefillDelay(t *testing.T) {
	given := time.Now()
	for _, test := range []struct {
		target, idle int
		after        time.Duration
		start        bool
		wait         time.Duration
	}{
		{4, 3, 0, false, refillDelay},
		{4, 3, refillDelay / 4, false, refillDelay - refillDelay/4},
		{4, 3, refillDelay, true, 0},
		{4, 2, 0, false, refillDelay},
		{4, 1, 0, true, 0},
		{1, 0, 0, true, 0},
		{4, 4, refillDelay, false, 0},
	} {
		p := &Pool{min: test.target, max: test.target, target: test.target}
		p.idle, p.lastAssigned = make([]*Worker, test.idle), given
		if start, wait := p.ReserveStart(given.Add(test.after)); start != test.start || wait != test.wait {
			t.Errorf("%d of %d left, after %v: start %v, wait %v; want %v, %v",
				test.idle, test.target, test.after, start, wait, test.start, test.wait)
		}
	}
}

// The spare that was used last is taken, a dead one is passed over, and the
// client's descriptor arrives with the assignment.
func TestAssign(t *testing.T) {
	st := newStage(t, sdkProgram+"spares = 3\n")
	now := time.Now()
	first, second, dead := st.spare(now), st.spare(now), st.spare(now)
	st.hangUp(dead)
	c := st.connection()
	if got := st.pool.Assign(c, now); got != second {
		t.Fatalf("the connection went to %v", got)
	}
	if dead.State() != Broken || first.State() != Idle {
		t.Errorf("the dead one is %v, the first one %v", dead.State(), first.State())
	}
	typ, body, fd, err := ipc.ReceiveConnection(st.ends[second.PID()], make([]byte, ipc.MaxMessage), unix.MSG_DONTWAIT)
	if typ != ipc.TypeAssignment || fd < 0 || err != nil {
		t.Fatalf("received %v with %d, %v", typ, fd, err)
	}
	defer unix.Close(fd)
	if a, err := ipc.DecodeAssignment(body); err != nil || a.Connection != c.ID || a.Reusable {
		t.Errorf("%+v, %v", a, err)
	}
	if n := st.logs.FilterMessage("accepted").Len(); n != 1 {
		t.Errorf("%d accepts are logged", n)
	}
	// The master's copy goes when the spare has acknowledged.
	before := fdtest.Open(t)
	st.say(second, ipc.Ack)
	st.set.Read(second)
	if after := fdtest.Open(t); second.State() != Serving || after != before-1 {
		t.Errorf("%v, %d descriptors before and %d after", second.State(), before, after)
	}
	// There is one spare left, and one that is not reaped.
	if start, _ := st.pool.ReserveStart(now.Add(time.Minute)); !start {
		t.Error("the pool wants no spare in the place of the one that was used")
	}
	if start, _ := st.pool.ReserveStart(now.Add(time.Minute)); start {
		t.Error("the pool starts one in the place of one that is not reaped")
	}
	st.die(dead)
	st.set.ReapAll()
	if start, _ := st.pool.ReserveStart(now.Add(time.Minute)); !start {
		t.Error("the pool wants no spare in the place of the one that was reaped")
	}
}

// A pool that finds itself empty wants more, and less again when it is quiet.
func TestGrowAndShrink(t *testing.T) {
	st := newStage(t, sdkProgram+"min-spares = 1\nmax-spares = 4\n")
	now := time.Now()
	wants := func() (n int) {
		for start, _ := st.pool.ReserveStart(now); start; start, _ = st.pool.ReserveStart(now) {
			n++
		}
		st.pool.starting -= n
		return n
	}
	for _, want := range []int{1, 2, 4, 4} {
		if got := wants(); got != want {
			t.Errorf("the pool wants %d spares, want %d", got, want)
		}
		if st.pool.Assign(st.connection(), now) != nil {
			t.Fatal("there was a spare")
		}
	}
	for range 4 {
		st.spare(now)
	}
	for range 4 {
		now = now.Add(shrinkAfter)
		st.pool.Shrink(now)
	}
	if ready, starting := st.pool.Counts(); ready != 1 || starting != 0 {
		t.Errorf("%d spares are left and %d starting, want 1", ready, starting)
	}
	if got := len(st.pool.leaving); got != 3 {
		t.Errorf("%d are leaving, want 3", got)
	}
}

// Workers that come back from a burst of connections may be many more than max.
// They are kept for a moment, and then go together.
func TestSurplusOfReuse(t *testing.T) {
	st := newStage(t, sdkProgram+"min-spares = 2\nmax-spares = 4\nconnections-per-worker = 100\n")
	now := time.Now()
	for range 50 {
		st.pool.GiveBack(st.serving(), now)
	}
	st.pool.Shrink(now.Add(surplusAfter - time.Millisecond))
	if ready, _ := st.pool.Counts(); ready != 50 {
		t.Errorf("%d are left at once", ready)
	}
	st.pool.Shrink(now.Add(surplusAfter))
	if ready, _ := st.pool.Counts(); ready != 4 {
		t.Errorf("%d are left after %v, want 4", ready, surplusAfter)
	}
}

// Spares that are of no use are started again after longer and longer pauses,
// until one is.
func TestFailingSpares(t *testing.T) {
	st := newStage(t, sdkProgram+"spares = 1\n")
	now := time.Now()
	var last time.Duration
	for range 3 {
		w := st.starting(now)
		st.die(w)
		st.set.ReapAll()
		st.pool.Failed(now, true)
		start, wait := st.pool.ReserveStart(now)
		if start || wait <= last || !st.pool.Failing() {
			t.Errorf("start %v, wait %v after %v, failing %v", start, wait, last, st.pool.Failing())
		}
		last = wait
		now = now.Add(wait)
	}
	w := st.spare(now)
	if st.pool.Assign(st.connection(), now) != w {
		t.Fatal("the spare was not given the connection")
	}
	st.say(w, ipc.Ack)
	st.set.Read(w)
	if st.pool.Failing() {
		t.Error("a spare was of use, and the pool still counts as failing")
	}
}

// After Close nothing is left, nothing comes back, and a worker with a
// connection keeps it.
func TestClosedPool(t *testing.T) {
	st := newStage(t, sdkProgram+"spares = 2\nconnections-per-worker = 2\n")
	now := time.Now()
	idle, late, serving := st.spare(now), st.starting(now), st.serving()
	st.pool.Close(now)
	st.say(late, ipc.Ready)
	st.set.Read(late)
	if idle.State() != Retiring || late.State() != Retiring {
		t.Errorf("the spare is %v, the late one %v", idle.State(), late.State())
	}
	if c := st.pool.GiveBack(serving, now); c != nil || serving.Connection() == nil || serving.State() != Retiring {
		t.Errorf("it gave back %v, has %v and is %v", c, serving.Connection(), serving.State())
	}
	if start, _ := st.pool.ReserveStart(now.Add(time.Hour)); start || !st.pool.Closed() {
		t.Error("a closed pool starts a spare")
	}
	for _, w := range []*Worker{idle, late, serving} {
		st.die(w)
	}
	st.set.ReapAll()
	if n := len(st.pool.leaving); n != 0 {
		t.Errorf("%d still count as leaving", n)
	}
	kept := 0
	for _, told := range st.told {
		if strings.HasSuffix(told, "connection true") {
			kept++
		}
	}
	if kept != 1 {
		t.Errorf("%d connections were there at the end: %q", kept, st.told)
	}
}
