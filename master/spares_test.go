package master

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
)

// A stage is a master without processes: the test plays the workers, over real
// control channels, and the order in which the loop gets to see things.
type stage struct {
	m    *Master
	s    *service
	logs *observer.ObservedLogs
	pid  int

	generations []*service // of the service, the present one last
	stale       int        // connections that were given to one before the present

	actors []*actor
	refuse bool           // the next spawn fails
	served map[string]int // how many processes have taken a connection
}

// An actor plays the process behind a worker.
type actor struct {
	w       *worker
	control int // its end of the channel, or -1 when it is dead
	conn    int // the connection that it holds, or -1
	id      string
	more    bool
	ready   bool // has said so and not been given anything since
	taken   bool
}

const stageSlots = 4

func newStage(t rapid.TB, spares, perWorker int) *stage {
	core, logs := observer.New(zapcore.InfoLevel)
	channels, err := newChannels()
	if err != nil {
		t.Fatal(err)
	}
	st := &stage{logs: logs, pid: 1000, served: map[string]int{}}
	st.m = &Master{
		log:     zap.New(core),
		closing: make(chan struct{}),

		background: func(f func()) { f() },

		spawns:   newOutcomes(),
		table:    newTable(),
		channels: channels,
	}
	st.m.ids.init(time.Now())
	st.s = &service{
		Service: config.Service{Name: "test", Handler: "echo", Handoff: config.HandoffWorker,
			ConnectionsPerWorker: perWorker, MinSpares: spares, MaxSpares: spares},
		books: newBooks(admit.Policy{MaxConnections: stageSlots, Wait: true, V4Bits: 32, V6Bits: 64, MaxSources: 1}),
		pool:  newPool(spares, spares),
		log:   st.m.log,
	}
	st.m.books = map[string]*books{st.s.Name: st.s.books}
	st.s.command.Control = true
	st.s.spawn = st.spawn
	st.m.services = []*service{st.s}
	st.generations = []*service{st.s}
	return st
}

// act gives a worker a process.
func (st *stage) act(w *worker) *actor {
	master, control, err := ipc.NewChannel()
	if err != nil {
		panic(err)
	}
	st.pid++
	w.child = &process.Child{Pid: st.pid, Control: master}
	a := &actor{w: w, control: control, conn: -1}
	st.actors = append(st.actors, a)
	return a
}

// spawn plays service.spawn.
func (st *stage) spawn(c *connection) (*worker, error) {
	w := c.service.newWorker(c)
	if st.refuse {
		st.refuse = false
		return w, errors.New("no more processes")
	}
	a := st.act(w)
	fd, err := unix.FcntlInt(c.file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		panic(err)
	}
	c.file.Close()
	a.conn, a.more, a.taken, a.id = fd, w.reusable(), true, c.id
	st.served[c.id]++
	return w, nil
}

// reload plays what a reload does to a service that it changes: another
// generation with the same books, and no more use for the old one's spares. An
// accept goroutine may have the old one in hand still.
func (st *stage) reload(now time.Time) {
	old := st.s
	st.s = &service{
		Service: old.Service,
		books:   old.books,
		command: old.command,
		pool:    newPool(old.MinSpares, old.MaxSpares),
		log:     old.log,
		spawn:   old.spawn,
	}
	st.generations = append(st.generations, st.s)
	st.m.services = []*service{st.s}
	old.pool.close(now)
}

// startSpare plays keepSpares.
func (st *stage) startSpare(now time.Time) bool {
	start, _ := st.s.pool.begin(now)
	if start {
		w := &worker{service: st.s, watched: true, since: now}
		st.act(w)
		st.m.spawning.Add(1)
		st.m.spawns.add(spawn{worker: w}, true)
	}
	return start
}

// loop lets the master's loop see all that has happened so far.
func (st *stage) loop() {
	st.m.takeSpawns()
	for _, a := range st.actors {
		if st.m.table.has(a.w.child.Pid) && a.w.watched {
			st.m.hear(a.w)
		}
	}
}

// die ends an actor's process, as a crash does; the master has not reaped it.
func (a *actor) die() {
	unix.Close(a.control)
	if a.conn >= 0 {
		unix.Close(a.conn)
	}
	a.control, a.conn, a.ready = -1, -1, false
}

// reap lets the loop see an actor's death.
func (st *stage) reap(a *actor) {
	st.m.takeSpawns()
	if w := st.m.table.exited(process.Exit{Pid: a.w.child.Pid}); w != nil {
		st.m.ended(w, process.Exit{Pid: a.w.child.Pid})
	}
}

// receive takes what the master has sent to an actor, if anything. It reports
// whether the channel is at its end.
func (a *actor) receive(t *rapid.T) (end bool) {
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

func (a *actor) say(message []byte) { _ = ipc.Send(a.control, message) }

// Whatever the order of arrivals, hand-overs, deaths, reloads and the loop's steps:
// every accepted connection gets exactly one end in the log, all slots come
// back, no descriptor is left, and there are never more processes than slots
// and spares.
func TestEveryConnectionIsServedOrFailed(t *testing.T) {
	report, err := (&ipc.Report{Reason: ipc.ReasonEOF}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		spares := rapid.IntRange(1, 3).Draw(t, "spares")
		st := newStage(t, spares, rapid.IntRange(1, 3).Draw(t, "connections per worker"))
		defer st.m.channels.close()
		before := openFDs(t)
		now := time.Now()
		accepted := 0
		any := func(t *rapid.T, fit func(*actor) bool) *actor {
			var fitting []*actor
			for _, a := range st.actors {
				if a.control >= 0 && fit(a) {
					fitting = append(fitting, a)
				}
			}
			if len(fitting) == 0 {
				t.Skip("nobody there")
			}
			return fitting[rapid.IntRange(0, len(fitting)-1).Draw(t, "who")]
		}
		actions := map[string]func(*rapid.T){
			"a client comes": func(t *rapid.T) {
				if !st.s.gate.Reserve() {
					t.Skip("no slot")
				}
				fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
				if err != nil {
					t.Fatal(err)
				}
				unix.Close(fds[1])
				accepted++
				last := len(st.generations) - 1
				s := st.generations[rapid.IntRange(max(0, last-1), last).Draw(t, "generation")]
				if s != st.s {
					st.stale++
				}
				_ = st.m.serve(s, &listen.Conn{FD: fds[0], Credentials: &unix.Ucred{}})
			},
			"the next spawn fails": func(*rapid.T) { st.refuse = true },
			"a spare is started": func(t *rapid.T) {
				now = now.Add(time.Minute) // past every back-off
				if !st.startSpare(now) {
					t.Skip("none wanted")
				}
			},
			"a spare is ready": func(t *rapid.T) {
				a := any(t, func(a *actor) bool { return a.conn < 0 && !a.ready && a.w.served == 0 })
				a.ready = true
				a.say(ipc.Ready)
			},
			"a worker receives": func(t *rapid.T) {
				a := any(t, func(a *actor) bool { return a.ready })
				if a.receive(t) {
					a.die()
				}
			},
			"a spare has taken": func(t *rapid.T) {
				a := any(t, func(a *actor) bool { return a.conn >= 0 && !a.taken })
				a.taken = true
				st.served[a.id]++
				a.say(ipc.Ack)
			},
			"a connection ends": func(t *rapid.T) {
				a := any(t, func(a *actor) bool { return a.conn >= 0 && a.taken })
				a.say(report)
				if !a.more {
					a.die()
					return
				}
				unix.Close(a.conn)
				a.conn, a.ready = -1, true
				a.say(ipc.Ready)
			},
			"a worker dies": func(t *rapid.T) {
				any(t, func(*actor) bool { return true }).die()
			},
			"a worker talks nonsense": func(t *rapid.T) {
				any(t, func(*actor) bool { return true }).say([]byte("nonsense"))
			},
			"the service is reloaded": func(*rapid.T) { st.reload(now) },
			"the loop looks":          func(*rapid.T) { st.loop() },
			"the loop reaps": func(t *rapid.T) {
				var dead []*actor
				for _, a := range st.actors {
					if a.control < 0 {
						dead = append(dead, a)
					}
				}
				if len(dead) == 0 {
					t.Skip("nobody is dead")
				}
				st.reap(dead[rapid.IntRange(0, len(dead)-1).Draw(t, "who")])
			},
			"": func(t *rapid.T) {
				processes := 0
				for _, a := range st.actors {
					// The dead are no processes, those that broke the contract
					// have been sent SIGKILL, and after a reload the spares of
					// the generation before it are on their way out.
					state := a.w.stateNow()
					out := state == broken || a.w.service != st.s && state != assigned && state != serving
					if a.control >= 0 && !out {
						processes++
					}
				}
				// Who accepted for the generation before spawns, since that one
				// has no spares, and may so make one process too many.
				if processes > stageSlots+spares+st.stale {
					t.Fatalf("%d processes, %d slots and %d spares", processes, stageSlots, spares)
				}
				st.checkSnapshot(t, now, accepted)
			},
		}
		t.Repeat(actions)

		// The end: everybody dies, and the loop sees all of it, twice over
		// because a death may give its connection to another actor.
		st.m.stop.phase = terminating
		for range 2 {
			for _, a := range st.actors {
				if a.control >= 0 {
					a.die()
				}
			}
			st.loop()
			for _, a := range st.actors {
				st.reap(a)
			}
		}
		st.s.pool.close(now)
		if s := st.checkSnapshot(t, now, accepted); s.Master.Live != 0 || len(s.Connections) > 0 {
			t.Errorf("all have ended, and there are live ones: %+v", s)
		}
		ends := map[string]int{}
		for _, entry := range st.logs.All() {
			switch entry.Message {
			case logging.EventReaped, logging.EventEnded, logging.EventSpawnFailed:
				if id, ok := entry.ContextMap()["conn"].(string); ok {
					ends[id]++
				}
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
		if counts := st.s.gate.Counts(); counts.Held+counts.Reserved != 0 {
			t.Errorf("%d slots not given back", counts.Held+counts.Reserved)
		}
		for i, s := range st.generations {
			if ready, starting := s.pool.counts(); ready+starting != 0 {
				t.Errorf("generation %d: %d spares still count as ready and %d as starting", i, ready, starting)
			}
		}
		if after := openFDs(t); after != before {
			t.Errorf("%d descriptors open before, %d after", before, after)
		}
	})
}

// checkSnapshot takes a look at the master and holds it to what is true of all
// looks: what was accepted is counted once, and each connection that is shown is
// one of the live ones.
func (st *stage) checkSnapshot(t *rapid.T, now time.Time, accepted int) control.Status {
	s := st.m.snapshot(now, true).status
	c := s.Services[0].Counts
	if c != s.Master.Counts || c.Accepted != uint64(accepted) || c.Accepted != c.Refused+c.Failed+c.Reaped+s.Master.Live {
		t.Fatalf("%d accepted: %+v, %+v", accepted, c, s.Master)
	}
	ids := map[string]bool{}
	for _, shown := range s.Connections {
		ids[shown.ID] = true
	}
	if len(ids) != len(s.Connections) || uint64(len(ids)) > s.Master.Live {
		t.Fatalf("%d live, and shown %+v", s.Master.Live, s.Connections)
	}
	return s
}

func openFDs(t rapid.TB) int {
	dir, err := unix.Open("/proc/self/fd", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dir)
	n := 0
	buf := make([]byte, 64<<10)
	for {
		got, err := unix.ReadDirent(dir, buf)
		if err != nil {
			t.Fatal(err)
		}
		if got == 0 {
			return n
		}
		_, count, _ := unix.ParseDirent(buf[:got], -1, nil)
		n += count
	}
}

// A spare is not replaced at the expense of the connection that it was given,
// unless spares are about to run out.
func TestRespite(t *testing.T) {
	given := time.Now()
	for _, test := range []struct {
		target, idle int
		after        time.Duration
		start        bool
		wait         time.Duration
	}{
		{4, 3, 0, false, respite},
		{4, 3, respite / 4, false, respite - respite/4},
		{4, 3, respite, true, 0},
		{4, 2, 0, false, respite},
		{4, 1, 0, true, 0},
		{1, 0, 0, true, 0},
		{4, 4, respite, false, 0},
	} {
		p := newPool(test.target, test.target)
		p.idle, p.given = make([]*worker, test.idle), given
		if start, wait := p.begin(given.Add(test.after)); start != test.start || wait != test.wait {
			t.Errorf("%d of %d left, after %v: start %v, wait %v; want %v, %v",
				test.idle, test.target, test.after, start, wait, test.start, test.wait)
		}
	}
}

// A burst that leaves few spares does not wait until the connection that began
// it has had its respite.
func TestBurstInRespite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, 4, 1)
		defer st.end()
		for st.startSpare(time.Now()) {
		}
		st.loop()
		for _, a := range st.actors {
			a.say(ipc.Ready)
		}
		st.loop()
		// Nothing comes of an attempt, but that it was made.
		st.s.spare.Path, st.s.spare.Null = filepath.Join(t.TempDir(), "none"), os.Stdin
		go st.m.keepSpares(st.s)
		defer st.s.pool.close(time.Now())
		for left := 3; left >= 1; left-- {
			st.s.pool.handOver(st.connection(t), time.Now())
			synctest.Wait()
			if attempt, want := st.s.pool.isFailing(), left < 2; attempt != want {
				t.Errorf("with %d of 4 left, an attempt to start another one: %v, want %v", left, attempt, want)
			}
		}
	})
}
