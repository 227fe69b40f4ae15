package master

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/ipc/fdtest"
	"github.com/preforkd/preforkd/ipc/slowtest"
	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/dispatch"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/service/servicetest"
	"github.com/preforkd/preforkd/master/workers"
)

// A stage is a master without processes. The master is the real one, with its
// install, fill and reap. The test plays the processes behind the workers, over
// real control channels, the kernel that tells of their ends, and the order in
// which the loop gets to see things.
type stage struct {
	*Master
	t    rapid.TB
	keys string // of the service, but for those that change
	logs *observer.ObservedLogs

	pid    int // above every pid that there can be (PID_MAX_LIMIT)
	actors []*actor
	dead   []process.Exit // ended and not reaped
	refuse error          // of the next start
	leave  bool           // clients go without a word once they were accepted

	specs  []*service.Spec // of the service, the present one last
	stale  int             // connections that were accepted under an earlier Spec
	served map[string]int  // how many processes have had a connection
	ended  bool
}

// An actor plays the process behind a worker.
type actor struct {
	pid     int
	control int // its end of the channel, or -1
	conn    int // the connection that it holds, or -1
	id      string
	spare   bool
	more    bool // it may get another connection
	ready   bool // it has said so and not been given anything since
	taken   bool
	broken  bool // it broke the contract: what it says after that is not heard
	dead    bool
}

const stageSlots = 4

// listenText is where the stage's service listens, otherText a service that never
// changes; nobody connects there.
var (
	listenText = fmt.Sprintf("listen = ['unix:@preforkd-test-%d']\n", os.Getpid())
	otherText  = fmt.Sprintf("[service.other]\nlisten = ['unix:@preforkd-test-%d-other']\nprogram = ['/bin/cat']\n", os.Getpid())
)

func newStage(t rapid.TB, keys string) *stage {
	t.Helper()
	st := &stage{t: t, keys: keys, pid: 1 << 22, served: map[string]int{}}
	core, logs := observer.New(zapcore.InfoLevel)
	st.logs = logs
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	logger, err := logging.New(logging.Options{Format: logging.FormatJSON, Output: null})
	if err != nil {
		t.Fatal(err)
	}
	// Closed at once: the log is observed, and nothing is written.
	if err := logger.Close(time.Minute); err != nil {
		t.Fatal(err)
	}
	logger.Logger = zap.New(core)
	st.Master, err = assemble(config.Config{}, origin{started: time.Now(), ids: service.NewIDs(time.Now())}, nil, nil, logger, seams{
		dispatch: dispatch.Config{
			Starter:    st,
			Background: func(f func()) { f() },
			KeepFilled: func(func()) {}, // the test decides when a spare is started
		},
		wait: st.wait,
	})
	if err != nil {
		t.Fatal(err)
	}
	// A connection that comes back from a worker may linger.
	go st.workers.Linger().Run()
	st.reload(0)
	return st
}

// end closes everything; it may be called more than once.
func (st *stage) end() {
	if st.ended {
		return
	}
	st.ended = true
	for _, a := range st.actors {
		a.closeAll()
	}
	for w := range st.workers.All() {
		w.Pool().MarkReaped(w)
	}
	st.discard()
}

// reload installs a configuration whose service differs from the one before, by
// the real way. Without one there is another service in its place.
func (st *stage) reload(generation int) {
	text := fmt.Sprintf("[service.test]\n%s%smax-connections = %d\nenv = ['GENERATION=%d']\n", listenText, st.keys, stageSlots, generation)
	st.install(otherText + text)
	s, _ := st.services.named("test")
	st.specs = append(st.specs, s.Spec())
}

// remove installs a configuration without the service.
func (st *stage) remove() {
	st.install(otherText)
}

func (st *stage) install(text string) {
	st.t.Helper()
	cfg := servicetest.Config(st.t, text)
	cfg.Control = config.ControlNone
	now := st.services.present()
	now.find()
	c, err := st.services.compile(&cfg, now)
	if err != nil {
		st.t.Fatal(err)
	}
	ch, err := st.Master.install(c)
	if err != nil {
		st.t.Fatal(err)
	}
	ch.opened = nil // nobody is to accept
	st.serveChange(ch)
}

// spec returns the Spec of the last configuration that had the service.
func (st *stage) spec() *service.Spec { return st.specs[len(st.specs)-1] }

// Start implements workers.Starter.
func (st *stage) Start(c *process.Command, conn *os.File, _ []string, message []byte) (*process.Child, error) {
	if err := st.refuse; err != nil {
		st.refuse = nil
		return nil, err
	}
	st.pid++
	a := &actor{pid: st.pid, control: -1, conn: -1, spare: conn == nil}
	child := &process.Child{Pid: st.pid, Control: -1}
	if c.Control {
		master, control, err := ipc.NewChannel()
		if err != nil {
			return nil, err
		}
		a.control, child.Control = control, master
		if message != nil {
			if err := ipc.Send(master, message); err != nil {
				return nil, err
			}
		}
	}
	if conn != nil {
		_, body, err := ipc.Receive(a.control, make([]byte, ipc.MaxMessage), unix.MSG_DONTWAIT)
		if err != nil {
			return nil, err
		}
		assignment, err := ipc.DecodeAssignment(body)
		if err != nil {
			return nil, err
		}
		fd, err := unix.FcntlInt(conn.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		a.conn, a.more, a.taken, a.id = fd, assignment.Reusable, true, assignment.Connection
		st.served[a.id]++
	}
	st.actors = append(st.actors, a)
	return child, nil
}

func (st *stage) wait(pid int) (e process.Exit, ok bool) {
	if pid != process.AnyChild || len(st.dead) == 0 {
		return e, false
	}
	e = st.dead[0]
	st.dead = st.dead[1:]
	return e, true
}

// accept has a connection admitted and dispatched, as an accept goroutine does
// that has a Spec in hand.
func (st *stage) accept(spec *service.Spec) (*service.Connection, error) {
	s := spec.Owner()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		st.t.Fatal(err)
	}
	if !st.leave {
		// What it has sent is all that it wanted to say.
		if _, err := unix.Write(fds[1], []byte("request")); err != nil {
			st.t.Fatal(err)
		}
	}
	unix.Close(fds[1])
	conn := &listen.Conn{FD: fds[0], Credentials: &unix.Ucred{}}
	s.Ledger.Accepted()
	d := s.Gate.Admit(admit.Peer{}, time.Now(), true)
	if d.Outcome != admit.Admitted {
		st.t.Fatalf("not admitted: %v", d.Reason)
	}
	st.pid++ // ids need not be pids, but have to be different
	c := service.NewConnection(spec, conn, d, fmt.Sprint("c", st.pid), st.services.redact)
	return c, st.dispatcher.Dispatch(c)
}

// look lets the loop see all that has happened so far, but for exits.
func (st *stage) look() {
	st.takeOutcomes()
	for w := range st.workers.All() {
		if w.Watched() {
			st.workers.Read(w)
		}
	}
}

func (a *actor) closeAll() {
	if a.control >= 0 {
		unix.Close(a.control)
	}
	if a.conn >= 0 {
		unix.Close(a.conn)
	}
	a.control, a.conn, a.ready = -1, -1, false
}

// die ends an actor's process, as a crash does; the kernel tells when it is asked.
func (st *stage) die(a *actor) {
	a.closeAll()
	a.dead = true
}

// bury lets the kernel tell of an actor's end, and the loop ask.
func (st *stage) bury(a *actor) {
	st.dead = append(st.dead, process.Exit{Pid: a.pid})
	for i, other := range st.actors {
		if other == a {
			st.actors = append(st.actors[:i:i], st.actors[i+1:]...)
			break
		}
	}
	st.reap()
}

// receive takes what the master has sent to an actor, if anything. It reports
// whether the channel is at its end.
func (a *actor) receive(t failer) (end bool) {
	typ, body, conn, err := ipc.ReceiveConnection(a.control, make([]byte, ipc.MaxMessage), unix.MSG_DONTWAIT)
	switch {
	case err == unix.EAGAIN:
		return false
	case err != nil:
		return true
	case typ == ipc.TypeDrain:
		return false
	}
	assignment, err := ipc.DecodeAssignment(body)
	if typ != ipc.TypeAssignment || err != nil || conn < 0 || !a.ready || a.conn >= 0 {
		t.Fatalf("received %v with fd %d, %v, ready %v, serving %d", typ, conn, err, a.ready, a.conn)
	}
	a.conn, a.more, a.ready, a.taken, a.id = conn, assignment.Reusable, false, false, assignment.Connection
	return false
}

type failer interface{ Fatalf(string, ...any) }

func (a *actor) say(message []byte) { _ = ipc.Send(a.control, message) }

// worker returns the worker that an actor is the process of, or nil.
func (st *stage) worker(a *actor) *workers.Worker {
	for w := range st.workers.All() {
		if w.PID() == a.pid {
			return w
		}
	}
	return nil
}

// Whatever the order of arrivals, hand-overs, deaths, reloads, drains and the
// loop's steps: every accepted connection gets exactly one end in the log, all
// slots come back, no descriptor is left, and there are never more processes
// than slots and spares.
func TestEveryConnectionIsServedOrFailed(t *testing.T) {
	report, err := (&ipc.Report{Reason: ipc.ReasonEOF}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		spares := rapid.IntRange(1, 3).Draw(t, "spares")
		before := fdtest.Open(t)
		st := newStage(t, fmt.Sprintf("program = ['/bin/cat']\nhandoff = 'worker'\nspares = %d\nconnections-per-worker = %d\n",
			spares, rapid.IntRange(1, 3).Draw(t, "connections per worker")))
		defer st.end()
		base := fdtest.Open(t)
		s := st.spec().Owner()
		now := time.Now()
		accepted, inForce := 0, true
		any := func(t *rapid.T, fit func(*actor) bool) *actor {
			var fitting []*actor
			for _, a := range st.actors {
				if !a.dead && fit(a) {
					fitting = append(fitting, a)
				}
			}
			if len(fitting) == 0 {
				t.Skip("nobody there")
			}
			return fitting[rapid.IntRange(0, len(fitting)-1).Draw(t, "who")]
		}
		t.Repeat(map[string]func(*rapid.T){
			"a client comes": func(t *rapid.T) {
				if !s.Gate.Reserve() {
					t.Skip("no slot")
				}
				accepted++
				last := len(st.specs) - 1
				spec := st.specs[rapid.IntRange(max(0, last-1), last).Draw(t, "generation")]
				if spec != st.spec() || s.Draining() {
					st.stale++ // it spawns, since there are no spares for it
				}
				_, _ = st.accept(spec)
			},
			"the next start fails": func(*rapid.T) { st.refuse = unix.EAGAIN },
			"a spare is started": func(t *rapid.T) {
				now = now.Add(time.Minute) // past every back-off
				if started, _ := st.dispatcher.StartSpare(st.dispatcher.Pool(st.spec()), now); !started {
					t.Skip("none wanted")
				}
			},
			"a spare is ready": func(t *rapid.T) {
				a := any(t, func(a *actor) bool { return a.spare && a.conn < 0 && !a.ready && a.id == "" })
				a.ready = true
				a.say(ipc.Ready)
			},
			"a worker receives": func(t *rapid.T) {
				a := any(t, func(a *actor) bool { return a.ready })
				if a.receive(t) {
					st.die(a)
				}
			},
			"a spare has taken": func(t *rapid.T) {
				// Who broke the contract is killed and cannot acknowledge anything,
				// and so its connection is another's.
				a := any(t, func(a *actor) bool { return a.conn >= 0 && !a.taken && !a.broken })
				a.taken = true
				st.served[a.id]++
				a.say(ipc.Ack)
			},
			"a connection ends": func(t *rapid.T) {
				a := any(t, func(a *actor) bool { return a.conn >= 0 && a.taken })
				a.say(report)
				if !a.more {
					st.die(a)
					return
				}
				unix.Close(a.conn)
				a.conn, a.ready = -1, true
				a.say(ipc.Ready)
			},
			"a worker dies": func(t *rapid.T) { st.die(any(t, func(*actor) bool { return true })) },
			"a worker talks nonsense": func(t *rapid.T) {
				a := any(t, func(*actor) bool { return true })
				a.broken = true
				a.say([]byte("nonsense"))
			},
			"a worker hangs up": func(t *rapid.T) {
				a := any(t, func(a *actor) bool { return a.control >= 0 })
				unix.Close(a.control)
				a.control, a.ready, a.broken = -1, false, true
			},
			"the service is reloaded": func(*rapid.T) { st.reload(len(st.specs)); inForce = true },
			"the service is removed": func(t *rapid.T) {
				if !inForce {
					t.Skip("it is not there")
				}
				st.remove()
				inForce = false
			},
			"the service is drained": func(t *rapid.T) {
				if !inForce {
					t.Skip("it is not there")
				}
				st.drainService(s, "test")
			},
			"the loop looks": func(*rapid.T) { st.look() },
			"the loop reaps": func(t *rapid.T) {
				var dead []*actor
				for _, a := range st.actors {
					if a.dead {
						dead = append(dead, a)
					}
				}
				if len(dead) == 0 {
					t.Skip("nobody is dead")
				}
				st.bury(dead[rapid.IntRange(0, len(dead)-1).Draw(t, "who")])
			},
			"": func(t *rapid.T) {
				processes := 0
				for _, a := range st.actors {
					// The dead are no processes. Those that broke the contract
					// have been sent SIGKILL. After a reload or a drain the
					// spares of before are on their way out.
					if w := st.worker(a); w == nil || a.dead {
						continue
					} else if state := w.State(); state == workers.Broken || state != workers.Assigned && state != workers.Serving && (w.Spec() != st.spec() || s.Draining()) {
						continue
					}
					processes++
				}
				// Who accepted for the Spec before starts a process, since that
				// one has no spares, and may so make one process too many.
				if processes > stageSlots+spares+st.stale {
					t.Fatalf("%d processes, %d slots and %d spares", processes, stageSlots, spares)
				}
				for i, spec := range st.specs {
					outdated := i < len(st.specs)-1 || !inForce || s.Draining()
					if st.dispatcher.Pool(spec).Closed() != outdated {
						t.Fatalf("generation %d of %d, draining %v: its pool is closed: %v", i, len(st.specs), s.Draining(), !outdated)
					}
				}
				totals := s.Totals()
				live := map[string]bool{}
				for w := range st.workers.All() {
					if c := w.Connection(); c != nil {
						if live[c.ID] {
							t.Fatalf("two workers have %s", c.ID)
						}
						live[c.ID] = true
					}
				}
				if totals.Accepted != uint64(accepted) || uint64(len(live)) > totals.Live() {
					t.Fatalf("%d accepted, %d have a worker: %+v", accepted, len(live), totals)
				}
			},
		})

		// The end: everybody dies, and the loop sees all of it, twice over
		// because a death may give its connection to another actor.
		st.phase.now = terminating
		for range 2 {
			for _, a := range st.actors {
				st.die(a)
			}
			st.look()
			for len(st.actors) > 0 {
				st.bury(st.actors[0])
			}
		}
		if totals := s.Totals(); totals.Live() != 0 || st.workers.Len() != 0 || st.dispatcher.InFlight() != 0 {
			t.Errorf("all have ended, and there are live ones: %+v", totals)
		}
		ends := map[string]int{}
		for _, entry := range st.logs.All() {
			switch entry.Message {
			case logging.EventReaped, logging.EventEnded, logging.EventSpawnFailed:
				if id, ok := entry.ContextMap()["conn"].(string); ok {
					ends[id]++
				}
			case "reaped stranger":
				t.Errorf("a worker's exit was nobody's: %v", entry.ContextMap())
			}
		}
		for id, n := range st.served {
			if n > 1 {
				t.Errorf("connection %s was taken by %d processes", id, n)
			}
		}
		for id, n := range ends {
			if n != 1 {
				t.Errorf("connection %s ended %d times", id, n)
			}
		}
		if len(ends) != accepted {
			t.Errorf("%d connections accepted, %d ended", accepted, len(ends))
		}
		if counts := s.Gate.Counts(); counts.Held+counts.Reserved != 0 {
			t.Errorf("%d slots not given back", counts.Held+counts.Reserved)
		}
		if ready, starting := st.dispatcher.Pool(st.spec()).Counts(); ready+starting != 0 {
			t.Errorf("%d spares still count as ready and %d as starting", ready, starting)
		}
		if after := openFDs(t, base); after > base {
			t.Errorf("%d descriptors open before, %d after", base, after)
		}
		st.end()
		if after := openFDs(t, before); after > before {
			t.Errorf("%d descriptors open before the master, %d after it", before, after)
		}
	})
}

// openFDs returns how many descriptors are open once there are at most limit, or after
// a while. Goroutines close some of them a moment after the last step of the loop. There
// may be fewer: the listener of the service can be gone, with its epoll entry, and what
// an earlier master had may have been open a moment longer.
func openFDs(t *rapid.T, limit int) int {
	deadline := time.Now().Add(slowtest.Scale(10 * time.Second))
	for {
		n := fdtest.Open(t)
		if n <= limit || time.Now().After(deadline) {
			return n
		}
		time.Sleep(time.Millisecond)
	}
}
