package dispatch

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/spawner"
	"github.com/preforkd/preforkd/master/workers"
)

// A Config is what a Dispatcher needs. Zero fields have the defaults named here.
type Config struct {
	// OneConnection says that the master serves a single connection.
	OneConnection bool
	// Stopping is closed when no more waits make sense; nil for never.
	Stopping <-chan struct{}
	// Spawner starts processes. The dispatcher owns it.
	Spawner *spawner.Spawner
	// Starter starts processes in its place, in tests.
	Starter workers.Starter
	// Background runs what would keep the loop waiting; by default in a
	// goroutine.
	Background func(func())
	// KeepFilled runs what keeps a pool filled, until the pool is closed; by
	// default in a goroutine.
	KeepFilled func(func())
}

// A Dispatcher gives connections to workers. Any goroutine may use it.
type Dispatcher struct {
	cfg      Config
	pools    sync.Map       // of the Specs in force: *service.Spec -> *workers.Pool
	fillers  sync.WaitGroup // goroutines that keep pools filled
	filling  sync.RWMutex   // held by PauseFilling; those that keep pools filled hold it for reading when they begin a start
	outcomes outcomeQueue
	inFlight atomic.Int64 // starts that have begun and whose outcome the loop has not taken
	shortage shortage
}

// New returns a dispatcher without pools.
func New(cfg Config) *Dispatcher {
	d := &Dispatcher{cfg: cfg, outcomes: outcomeQueue{wake: make(chan struct{}, 1)}}
	if d.cfg.Starter == nil {
		d.cfg.Starter = d.cfg.Spawner
	}
	if d.cfg.Background == nil {
		d.cfg.Background = func(f func()) { go f() }
	}
	if d.cfg.KeepFilled == nil {
		d.cfg.KeepFilled = d.fillers.Go
	}
	return d
}

// Open makes the pool of a Spec that has just been put in force.
func (d *Dispatcher) Open(spec *service.Spec) {
	d.pools.Store(spec, workers.NewPool(spec))
}

// Fill starts keeping the pool of a Spec filled, if it wants spares.
func (d *Dispatcher) Fill(spec *service.Spec) {
	if spec.MaxSpares > 0 {
		p := d.Pool(spec)
		d.cfg.KeepFilled(func() { d.keepFilled(p) })
	}
}

// Close tells the spares of a Spec to go that is no longer in force, or whose
// service is drained. Connections that were admitted under it are served by
// processes of their own.
func (d *Dispatcher) Close(spec *service.Spec, now time.Time) {
	if p, ok := d.pools.LoadAndDelete(spec); ok {
		p.(*workers.Pool).Close(now)
	}
}

// StartProbe starts a spare that gets no connection and is nobody's worker. The
// loop learns nothing of it.
func (d *Dispatcher) StartProbe(spec *service.Spec) (*process.Child, error) {
	return d.cfg.Starter.Start(spec.SpareCommand(), nil, spec.SpareEnvironment(), nil)
}

// Stalled returns the programs of which starts hang.
func (d *Dispatcher) Stalled() []spawner.Stall {
	if d.cfg.Spawner == nil {
		return nil
	}
	return d.cfg.Spawner.Stalled()
}

// Wait waits until no pool is kept filled any more.
func (d *Dispatcher) Wait() { d.fillers.Wait() }

// End releases what starts processes, when nothing is to be started any more.
func (d *Dispatcher) End() {
	if d.cfg.Spawner != nil {
		d.cfg.Spawner.Close()
	}
}

// Pool returns the pool of a Spec; a closed one if the Spec is not in force.
func (d *Dispatcher) Pool(spec *service.Spec) *workers.Pool {
	if p, ok := d.pools.Load(spec); ok {
		return p.(*workers.Pool)
	}
	p := workers.NewPool(spec)
	p.Close(time.Now())
	return p
}

// Dispatch gives a connection that has its slot to a spare or else to a new
// worker, and returns the error of the start. The loop learns of either: when
// Dispatch has returned, the connection is not the caller's any more.
func (d *Dispatcher) Dispatch(c *service.Connection) error {
	p := d.Pool(c.Spec)
	if !c.NeedsFreshProcess() && p.Assign(c, time.Now()) != nil {
		return nil
	}
	// Counted before the child can exist: the loop keeps the exits of unknown
	// children for as long as this is not zero.
	d.inFlight.Add(1)
	w, err := d.start(p, c)
	if err != ErrGone {
		c.LogAccepted(w.PID())
	}
	d.outcomes.add(Outcome{w, c, err, time.Since(c.Accepted)}, err != nil || w.Watched() || d.cfg.OneConnection || d.stopping())
	if c.Owner().Draining() {
		// The worker has to be told to come to an end, and nothing else may wake
		// the loop for it. Asked only now: a drain that comes later finds the
		// outcome in the queue.
		d.outcomes.notify()
	}
	return err
}

// Redispatch gives a connection to another worker when a spare has died without
// acknowledging it. It does not wait for that.
func (d *Dispatcher) Redispatch(c *service.Connection) {
	d.inFlight.Add(1)
	d.cfg.Background(func() {
		p, begun := d.Pool(c.Spec), time.Now()
		if p.Assign(c, begun) != nil {
			d.outcomes.add(Outcome{}, true)
			return
		}
		if c.Gone() {
			d.outcomes.add(Outcome{Conn: c, Err: ErrGone}, true)
			return
		}
		w, err := d.start(p, c)
		c.LogAccepted(w.PID())
		d.outcomes.add(Outcome{w, c, err, time.Since(begun)}, true)
	})
}

// ProgramFailed fails a connection whose worker was started, could not execute its
// program, and has ended. The loop learns of it as of any start that failed, once
// it is known what was missing.
func (d *Dispatcher) ProgramFailed(w *workers.Worker, c *service.Connection) {
	d.inFlight.Add(1)
	d.cfg.Background(func() {
		err := w.FailureError()
		if IsExhaustion(err) {
			c.Owner().Ledger.NoteShortage(time.Now())
		}
		d.outcomes.add(Outcome{Worker: w, Conn: c, Err: err}, true)
	})
}

// start starts a worker for a connection. Where descriptors are short it tries
// again until there are some: the client is better off waiting, as it would in
// the kernel's queue. A client that goes meanwhile gets no worker: ErrGone.
func (d *Dispatcher) start(p *workers.Pool, c *service.Connection) (*workers.Worker, error) {
	w := workers.NewWorker(p, c)
	err := w.Start(d.cfg.Starter)
	if isBusy(err) {
		retry(d.cfg.Stopping, busyTimeout, func() bool {
			if c.Gone() {
				err = ErrGone
				return false
			}
			w = workers.NewWorker(p, c)
			err = w.Start(d.cfg.Starter)
			return isBusy(err)
		})
	}
	if !IsDescriptorShortage(err) {
		return w, err
	}
	c.Owner().Log.Warn("spawn delayed", logging.Conn(c.ID), c.Peer(), logging.Error(err))
	c.Owner().Ledger.NoteShortage(time.Now())
	d.shortage.retry(d.cfg.Stopping, func() bool {
		c.Owner().Ledger.NoteShortage(time.Now())
		if c.Gone() {
			err = ErrGone
			return false
		}
		w = workers.NewWorker(p, c)
		err = w.Start(d.cfg.Starter)
		return IsDescriptorShortage(err)
	})
	return w, err
}

// busyTimeout bounds how long a connection waits for what isBusy tells.
const busyTimeout = time.Second

// isBusy reports whether a start failed for want of something that takes a moment. The
// program's file is open for writing: it is being replaced by a copy. Or the box has no
// room, and what processes left there that have ended is being removed.
func isBusy(err error) bool {
	return errors.Is(err, unix.ETXTBSY) || errors.Is(err, process.ErrBoxFull)
}

func (d *Dispatcher) stopping() bool {
	select {
	case <-d.cfg.Stopping:
		return true
	default:
		return false
	}
}

// AwaitDescriptors waits while a connection waits for descriptors. Whoever
// accepts calls it first: younger connections would take the descriptors that
// come free, and the one that waits might wait for ever.
// It reports whether it had to wait.
func (d *Dispatcher) AwaitDescriptors() bool { return d.shortage.await() }

// Wake returns a channel that has something when outcomes are there that cannot
// wait until a child ends.
func (d *Dispatcher) Wake() <-chan struct{} { return d.outcomes.wake }

// Take returns all outcomes since the last call, the oldest first, in the memory
// of into. Each of them counts as in flight until Taken.
func (d *Dispatcher) Take(into []Outcome) []Outcome { return d.outcomes.take(into) }

// Taken says that an outcome was taken into account.
func (d *Dispatcher) Taken() { d.inFlight.Add(-1) }

// InFlight returns how many starts have begun that the loop has not taken into
// account.
func (d *Dispatcher) InFlight() int64 { return d.inFlight.Load() }

// SetUrgent says whether the loop has an exit that may belong to an outcome to
// come: then every outcome is urgent. It reports whether there are outcomes
// already, which the loop has to take first.
func (d *Dispatcher) SetUrgent(urgent bool) (some bool) { return d.outcomes.setUrgent(urgent) }
