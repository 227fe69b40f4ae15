package master

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/attic"
	"github.com/preforkd/preforkd/master/process"
)

// register has the loop hear of a worker whose pid the stage chooses.
func (st *stage) register(w *worker) *actor {
	a := st.act(w)
	st.m.register(w)
	return a
}

// serves returns a worker that has served its nth connection since then.
func (st *stage) serves(n int, since time.Time) *worker {
	return &worker{service: st.s, state: serving, since: since, conn: &connection{service: st.s}, served: n}
}

// crowd registers workers that have served their last connection for long.
func (st *stage) crowd(n int) {
	for range n {
		st.register(st.serves(st.s.ConnectionsPerWorker, time.Now().Add(-time.Minute)))
	}
}

// near counts the workers whose channels are among the master's descriptors.
func (st *stage) near() (n int) {
	for _, w := range st.m.table.workers {
		if w.attic == nil {
			n++
		}
	}
	return n
}

func (st *stage) end() {
	for _, a := range st.actors {
		if a.control >= 0 {
			a.die()
		}
		a.w.service.pool.mu.Lock()
		a.w.closeControl()
		a.w.service.pool.mu.Unlock()
	}
	st.m.stowage.close()
	st.m.channels.close()
}

const mostNear = manyChannels + stowAtOnce

// A worker that serves one short connection after the other does not keep the
// channels of those near that were born after it.
func TestStowBehindReused(t *testing.T) {
	st := newStage(t, 1, 1000)
	defer st.end()
	reused := st.serves(1, time.Now().Add(time.Hour))
	st.register(reused)
	st.crowd(3 * mostNear)
	if n := st.near(); n > mostNear {
		t.Errorf("%d channels are near, want at most %d", n, mostNear)
	}
	if reused.attic != nil {
		t.Error("the channel of a worker that may be given another connection is not near")
	}
	if n := len(st.m.stowage.near); n > mostNear {
		t.Errorf("%d workers are remembered, want at most %d", n, mostNear)
	}
}

// A spare that has waited for long is as any other once it serves.
func TestStowSpare(t *testing.T) {
	st := newStage(t, 1, 1)
	defer st.end()
	spare := &worker{service: st.s, watched: true, since: time.Now().Add(-time.Minute)}
	a := st.register(spare)
	a.say(ipc.Ready)
	st.m.hear(spare)
	spare.since = time.Now().Add(-time.Minute)
	st.crowd(2 * mostNear)
	if spare.attic != nil {
		t.Fatal("the channel of a spare is not near")
	}
	if st.s.pool.handOver(st.connection(t), time.Now()) != spare {
		t.Fatal("the spare was not given the connection")
	}
	a.say(ipc.Ack)
	st.m.hear(spare)
	spare.since = time.Now().Add(-time.Minute)
	st.crowd(2 * mostNear)
	if spare.attic == nil {
		t.Error("the channel of a spare that has served for long is near")
	}
}

// Connections are given to spares by others than the loop, at any time.
func TestStowWhileHandingOver(t *testing.T) {
	st := newStage(t, 1, 1)
	defer st.end()
	spare := &worker{service: st.s, watched: true, since: time.Now()}
	st.register(spare).say(ipc.Ready)
	st.m.hear(spare)
	c, given := st.connection(t), make(chan *worker)
	go func() { given <- st.s.pool.handOver(c, time.Now()) }()
	st.crowd(2 * mostNear)
	if <-given != spare {
		t.Error("the spare was not given the connection")
	}
}

// A pid that comes again while the first to have it is remembered is another
// worker's.
func TestStowReusedPid(t *testing.T) {
	st := newStage(t, 1, 1)
	defer st.end()
	young := st.serves(1, time.Now().Add(time.Hour))
	st.register(young)
	gone := st.serves(1, time.Now().Add(-time.Minute))
	st.register(gone).die()
	gone.conn = nil // whose end is not what this is about
	st.m.exited(process.Exit{Pid: gone.child.Pid})
	st.pid--
	st.crowd(2 * mostNear)
	young.since = time.Now().Add(-time.Minute)
	before := openFDs(t)
	near := st.near()
	st.crowd(1)
	// Those that went, but for the socket to the attic, and the pair that came.
	stowed := near + 1 - st.near()
	if now := openFDs(t); stowed == 0 || now != before-stowed+3 {
		t.Errorf("%d descriptors are left of %d, and %d channels were stowed", now, before, stowed)
	}
	report, err := (&ipc.Report{Reason: ipc.ReasonEOF}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range st.actors {
		if a.w == gone {
			continue
		}
		a.say(report)
		if st.m.hear(a.w); a.w.report == nil {
			t.Fatalf("worker %d was not heard, breach %v", a.w.child.Pid, a.w.breach)
		}
	}
}

// An attic that was full once has room again when connections end.
func TestStowAfterFull(t *testing.T) {
	st := newStage(t, 1, 1)
	defer st.end()
	st.crowd(mostNear - 1)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	w := st.serves(1, time.Now().Add(-time.Minute))
	st.act(w)
	// Room for what the attic needs itself, and not for so many channels.
	few := old
	few.Cur = stowAtOnce / 2
	st.m.stowage.attic = openAttic(t)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	st.m.register(w)
	unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
	if n := st.near(); n != mostNear {
		t.Fatalf("%d channels are near, want all %d", n, mostNear)
	}
	st.crowd(3 * mostNear)
	// Those that were refused once stay.
	if n := st.near(); n > mostNear+stowAtOnce {
		t.Errorf("%d channels are near, want at most %d", n, mostNear+stowAtOnce)
	}
	if n := st.logs.FilterMessageSnippet("control channels stay").Len(); n != 1 {
		t.Errorf("the log says so %d times, want once", n)
	}
}

func openAttic(t *testing.T) *attic.Attic {
	t.Helper()
	a, err := attic.Open()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// connection makes one that a spare can be given.
func (st *stage) connection(t *testing.T) *connection {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[1]) })
	file := os.NewFile(uintptr(fds[0]), "connection")
	t.Cleanup(func() { file.Close() })
	return &connection{service: st.s, id: "c1", announced: true, file: file}
}
