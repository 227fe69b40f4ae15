package dispatch

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/service/servicetest"
	"github.com/preforkd/preforkd/master/workers"
)

// A fakeStarter plays the system: it starts nothing, and fails as it is told.
type fakeStarter struct {
	mu     sync.Mutex
	pid    int
	starts int
	err    error
	ends   []int // of control channels
}

func (f *fakeStarter) Start(c *process.Command, conn *os.File, _ []string, _ []byte) (*process.Child, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.starts++
	if f.err != nil {
		return nil, f.err
	}
	f.pid++
	child := &process.Child{Pid: f.pid, Control: -1}
	if c.Control {
		master, worker, err := ipc.NewChannel()
		if err != nil {
			return nil, err
		}
		child.Control = master
		f.ends = append(f.ends, worker, master)
	}
	return child, nil
}

func (f *fakeStarter) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *fakeStarter) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.starts
}

func (f *fakeStarter) close() {
	for _, fd := range f.ends {
		unix.Close(fd)
	}
}

const sdkProgram = "program = ['/bin/cat']\nhandoff = 'worker'\n"

func newDispatcher(t *testing.T, keys string, cfg Config) (*Dispatcher, *service.Spec, *fakeStarter) {
	t.Helper()
	f := &fakeStarter{pid: 1000}
	t.Cleanup(f.close)
	cfg.Starter = f
	spec := servicetest.Spec(t, keys, zap.NewNop())
	d := New(cfg)
	d.Open(spec)
	return d, spec, f
}

func connection(t *testing.T, spec *service.Spec) *service.Connection {
	c, _ := servicetest.Connection(t, spec, "c1")
	return c
}

func wakes(d *Dispatcher) bool {
	select {
	case <-d.Wake():
		return true
	default:
		return false
	}
}

// Without a spare a process is started, and the loop hears of it when it has
// time. A failure it hears of at once.
func TestDispatchStarts(t *testing.T) {
	d, spec, f := newDispatcher(t, sdkProgram, Config{})
	if err := d.Dispatch(connection(t, spec)); err != nil {
		t.Fatal(err)
	}
	if wakes(d) || d.InFlight() != 1 {
		t.Errorf("the loop is woken for a start, %d in flight", d.InFlight())
	}
	f.fail(unix.ENOENT)
	c := connection(t, spec)
	if err := d.Dispatch(c); !errors.Is(err, unix.ENOENT) {
		t.Errorf("got %v", err)
	}
	if !wakes(d) {
		t.Error("the loop is not woken for a failure")
	}
	got := d.Take(nil)
	if len(got) != 2 || got[0].Worker.PID() != 1001 || got[0].Err != nil || got[1].Err == nil || got[1].Conn != c || got[1].Worker.PID() != 0 {
		t.Fatalf("%+v", got)
	}
	if len(d.Take(nil)) != 0 || d.InFlight() != 2 {
		t.Errorf("%d in flight before they are taken into account", d.InFlight())
	}
	d.Taken()
	d.Taken()
	if d.InFlight() != 0 {
		t.Errorf("%d in flight", d.InFlight())
	}
}

// An exit that may belong to a start makes every outcome urgent.
func TestUrgentOutcomes(t *testing.T) {
	d, spec, _ := newDispatcher(t, sdkProgram+"max-connections = 100\n", Config{})
	if d.SetUrgent(true) {
		t.Error("there are outcomes of nothing")
	}
	_ = d.Dispatch(connection(t, spec))
	if !wakes(d) || !d.SetUrgent(false) {
		t.Error("an exit is there, and the loop is not woken")
	}
	d.Take(nil)
	for i := 1; i < maxUnregistered; i++ {
		if _ = d.Dispatch(connection(t, spec)); wakes(d) {
			t.Fatalf("woken for outcome %d", i)
		}
	}
	if _ = d.Dispatch(connection(t, spec)); !wakes(d) {
		t.Error("not woken for many")
	}
}

// The loop hears at once of a worker that was started while its service drains:
// the worker has to be told, and nobody else may be alive to wake the loop.
func TestStartWhileDraining(t *testing.T) {
	d, spec, _ := newDispatcher(t, sdkProgram, Config{})
	c := connection(t, spec)
	spec.Owner().Drain()
	if err := d.Dispatch(c); err != nil || !wakes(d) {
		t.Errorf("%v, and the loop is not woken", err)
	}
}

// Of a spare that has a connection the loop hears from the spare itself.
func TestDispatchToSpare(t *testing.T) {
	d, spec, f := newDispatcher(t, sdkProgram+"spares = 1\n", Config{})
	pool := d.Pool(spec)
	if started, _ := d.StartSpare(pool, time.Now()); !started {
		t.Fatal("no spare was started")
	}
	if started, wait := d.StartSpare(pool, time.Now()); started || wait != 0 {
		t.Errorf("a second one: %v, %v", started, wait)
	}
	spare := d.Take(nil)[0]
	if spare.Conn != nil || spare.Err != nil || !wakes(d) {
		t.Fatalf("%+v", spare)
	}
	d.Taken()
	pool.Add(spare.Worker, time.Now())
	if err := d.Dispatch(connection(t, spec)); err != nil || f.count() != 1 {
		t.Errorf("%v after %d starts", err, f.count())
	}
	if spare.Worker.State() != workers.Assigned || len(d.Take(nil)) != 0 || d.InFlight() != 0 {
		t.Errorf("the spare is %v, %d in flight", spare.Worker.State(), d.InFlight())
	}
}

// A connection whose spare has died goes to another worker, off the loop.
func TestRedispatch(t *testing.T) {
	var later []func()
	d, spec, f := newDispatcher(t, sdkProgram+"spares = 1\n", Config{Background: func(f func()) { later = append(later, f) }})
	d.Redispatch(connection(t, spec))
	if f.count() != 0 || d.InFlight() != 1 || len(later) != 1 {
		t.Fatalf("%d starts, %d in flight", f.count(), d.InFlight())
	}
	later[0]()
	if got := d.Take(nil); len(got) != 1 || got[0].Worker.PID() == 0 || got[0].Conn == nil || !wakes(d) {
		t.Fatalf("%+v", got)
	}
	d.Taken()
	d.StartSpare(d.Pool(spec), time.Now())
	spare := d.Take(nil)[0].Worker
	d.Taken()
	d.Pool(spec).Add(spare, time.Now())
	d.Redispatch(connection(t, spec))
	later[1]()
	if got := d.Take(nil); len(got) != 1 || got[0] != (Outcome{}) || spare.State() != workers.Assigned {
		t.Errorf("%+v, the spare is %v", got, spare.State())
	}
}

// A connection that comes for a Spec which is no longer in force is served all
// the same, by a process of its own whose pool takes nothing back.
func TestDispatchOutdated(t *testing.T) {
	d, spec, _ := newDispatcher(t, sdkProgram+"spares = 2\nconnections-per-worker = 2\n", Config{})
	pool := d.Pool(spec)
	d.Close(spec, time.Now())
	d.Close(spec, time.Now())
	if !pool.Closed() || !d.Pool(spec).Closed() {
		t.Error("the pool is open")
	}
	if err := d.Dispatch(connection(t, spec)); err != nil {
		t.Fatal(err)
	}
	w := d.Take(nil)[0].Worker
	if w.Pool().GiveBack(w, time.Now()) != nil {
		t.Error("the worker came back")
	}
}

// While one connection waits for descriptors nobody accepts, and it gets the
// first ones that are there.
func TestDescriptorShortage(t *testing.T) {
	d, spec, f := newDispatcher(t, sdkProgram, Config{})
	d.AwaitDescriptors() // does not wait without a shortage
	f.fail(fmt.Errorf("pipe2: %w", unix.EMFILE))
	done := make(chan error)
	go func() { done <- d.Dispatch(connection(t, spec)) }()
	for f.count() < 3 { // the first attempt, and two after pauses
		time.Sleep(time.Millisecond)
	}
	accepting := make(chan struct{})
	go func() { d.AwaitDescriptors(); close(accepting) }()
	for n := f.count(); f.count() < n+2; {
		select {
		case <-accepting:
			t.Fatal("others accept during the shortage")
		default:
			time.Sleep(time.Millisecond)
		}
	}
	if spec.Owner().Ledger.Shortage().IsZero() {
		t.Error("the ledger knows of no shortage")
	}
	f.fail(nil)
	if err := <-done; err != nil {
		t.Error(err)
	}
	<-accepting
}

// A client that goes while its start waits, or before its connection goes to
// another worker, gets none, and the log says nothing of an accept.
func TestGone(t *testing.T) {
	for _, why := range []error{unix.EMFILE, unix.ETXTBSY} {
		d, spec, f := newDispatcher(t, sdkProgram, Config{})
		f.fail(why)
		c, client := servicetest.Connection(t, spec, "c1")
		done := make(chan error)
		go func() { done <- d.Dispatch(c) }()
		for f.count() < 2 {
			time.Sleep(time.Millisecond)
		}
		if err := unix.Shutdown(client, unix.SHUT_RDWR); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != ErrGone {
			t.Errorf("%v: %v", why, err)
		}
		if got := d.Take(nil); len(got) != 1 || got[0].Err != ErrGone || got[0].Conn != c || !wakes(d) {
			t.Errorf("%v: %+v", why, got)
		}
		d.Taken()

		f.fail(nil)
		again, client := servicetest.Connection(t, spec, "c2")
		if err := unix.Shutdown(client, unix.SHUT_RDWR); err != nil {
			t.Fatal(err)
		}
		before := f.count()
		d.Redispatch(again)
		<-d.Wake()
		if got := d.Take(nil); len(got) != 1 || got[0].Err != ErrGone || got[0].Conn != again || f.count() != before {
			t.Errorf("%v, after %d starts", got, f.count()-before)
		}
	}
}

// The attempts come after longer and longer pauses.
func TestShortageBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s shortage
		tries := 0
		start := time.Now()
		s.retry(nil, func() bool { tries++; return time.Since(start) < 10*time.Second })
		// 5 ms, doubled up to a second: few attempts in ten seconds.
		if tries < 10 || tries > 20 {
			t.Errorf("%d attempts in ten seconds", tries)
		}
	})
}

// A master that stops waits for no descriptors.
func TestShortageEndsWithStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stopping := make(chan struct{})
		d, spec, f := newDispatcher(t, sdkProgram, Config{Stopping: stopping})
		f.fail(unix.ENFILE)
		done := make(chan error)
		go func() { done <- d.Dispatch(connection(t, spec)) }()
		time.Sleep(time.Minute)
		before := f.count()
		close(stopping)
		if err := <-done; !errors.Is(err, unix.ENFILE) || f.count() != before+1 {
			t.Errorf("%v after %d last attempts", err, f.count()-before)
		}
		if !wakes(d) {
			t.Error("the loop is not woken, and the master stops")
		}
	})
}

// A burst that leaves few spares does not wait until the connection that began it
// has had the processors for itself.
func TestBurstRefills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, spec, f := newDispatcher(t, sdkProgram+"spares = 4\n", Config{})
		pool := d.Pool(spec)
		for started, _ := d.StartSpare(pool, time.Now()); started; started, _ = d.StartSpare(pool, time.Now()) {
		}
		for _, o := range d.Take(nil) {
			pool.Add(o.Worker, time.Now())
			d.Taken()
		}
		f.fail(unix.ENOENT) // nothing comes of an attempt, but that it was made
		d.Fill(spec)
		for left := 3; left >= 1; left-- {
			if pool.Assign(connection(t, spec), time.Now()) == nil {
				t.Fatal("there is no spare")
			}
			synctest.Wait()
			if attempt, want := pool.Failing(), left < 2; attempt != want {
				t.Errorf("with %d of 4 left, an attempt to start another one: %v, want %v", left, attempt, want)
			}
		}
		d.Close(spec, time.Now())
		d.Wait()
	})
}

// Spares are kept ready without anybody asking, and pauses grow while they fail.
func TestKeepFilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, spec, f := newDispatcher(t, sdkProgram+"spares = 3\n", Config{})
		f.fail(unix.EAGAIN)
		d.Fill(spec)
		time.Sleep(time.Minute)
		if n := f.count(); n < 60 || n > 75 {
			t.Errorf("%d attempts in a minute, with a pause of a second at most", n)
		}
		f.fail(nil)
		time.Sleep(2 * time.Second)
		if _, starting := d.Pool(spec).Counts(); starting != 3 {
			t.Errorf("%d are starting, want 3", starting)
		}
		d.Close(spec, time.Now())
		d.Wait()
	})
}

// A program whose file is being replaced is waited for, and so is room in a box. It is
// not for ever.
func TestBusy(t *testing.T) {
	for _, busy := range []error{unix.ETXTBSY, process.ErrBoxFull} {
		synctest.Test(t, func(t *testing.T) {
			d, spec, f := newDispatcher(t, sdkProgram, Config{})
			f.fail(fmt.Errorf("fork/exec: %w", busy))
			go func() {
				time.Sleep(100 * time.Millisecond)
				f.fail(nil)
			}()
			if err := d.Dispatch(connection(t, spec)); err != nil || f.count() < 2 {
				t.Errorf("%v after %d attempts", err, f.count())
			}
			f.fail(fmt.Errorf("fork/exec: %w", busy))
			begun, before := time.Now(), f.count()
			if err := d.Dispatch(connection(t, spec)); !errors.Is(err, busy) {
				t.Error(err)
			}
			if took := time.Since(begun); took < busyTimeout || took > 3*busyTimeout || f.count()-before > 20 {
				t.Errorf("%d attempts in %v", f.count()-before, took)
			}
		})
	}
}
