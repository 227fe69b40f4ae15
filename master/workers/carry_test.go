package workers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/ipc/slowtest"
	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/carry/carrytest"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/redact"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/service/servicetest"
)

const spareProgram = "program = ['/bin/cat']\nhandoff = 'worker'\nmin-spares = 4\nmax-spares = 8\nconnections-per-worker = 3\nstderr = 'log'\n"

// export pauses the set, which stays paused, and returns its state.
func (st *stage) export() (*SetState, *carry.Descriptors, *service.SpecRecorder) {
	st.t.Helper()
	if err := st.set.Pause(); err != nil {
		st.t.Fatal(err)
	}
	d, specs := carry.NewDescriptors(), &service.SpecRecorder{}
	state, err := st.set.Export(d, specs)
	if err != nil {
		st.t.Fatal(err)
	}
	return state, d, specs
}

// next returns a stage that takes over from st with another configuration and version of
// the master, and the state that it has restored. The set is to be resumed.
func (st *stage) next(keys, version string) (*stage, *SetState) {
	st.t.Helper()
	state, d, specs := st.export()
	owner := st.pool.spec.Owner().Export(specs)
	again, copies := carrytest.Again(st.t, state, d)

	next := newStage(st.t, keys)
	compiled := servicetest.Specs(st.t, "[service.test]\nlisten = ['unix:@preforkd-test']\n"+keys)[0]
	restored, err := service.RestoreSpecs(specs.States(), []*service.Spec{compiled})
	if err != nil {
		st.t.Fatal(err)
	}
	svc, err := service.RestoreService(&owner, restored, next.set.log)
	if err != nil {
		st.t.Fatal(err)
	}
	svc.SetOwner(compiled)
	svc.Install(compiled, time.Now())
	next.pool = NewPool(compiled)
	next.nextPID, next.ends, next.zombies = st.nextPID, maps.Clone(st.ends), st.zombies
	st.ends = map[int]int{}
	next.set.UseCells(cellCarrier{})
	err = next.set.Restore(again, copies, restored, RestoreOptions{Version: version, Redact: &redact.Policy{}, Pool: func(spec *service.Spec) *Pool {
		if spec == compiled {
			return next.pool
		}
		p := NewPool(spec)
		p.Close(time.Now())
		return p
	}})
	if err != nil {
		st.t.Fatal(err)
	}
	if left := copies.Untaken(); len(left) != 0 {
		st.t.Errorf("nobody has taken %v", left)
	}
	return next, again
}

// worker returns the worker of a pid.
func (st *stage) worker(pid int) *Worker {
	st.t.Helper()
	w := st.set.table.workers[pid]
	if w == nil {
		st.t.Fatalf("there is no worker %d", pid)
	}
	return w
}

// A carriedCell is a cell that has no descriptor.
type carriedCell struct {
	Name string
	left bool
	done func(process.Remains)
}

func (c *carriedCell) Leave(done func(process.Remains)) (process.Remains, bool) {
	c.left, c.done = true, done
	return process.Remains{}, false
}
func (c *carriedCell) Holds() bool                    { return true }
func (c *carriedCell) CPUTime() (time.Duration, bool) { return 0, false }
func (c *carriedCell) Serves(*os.File)                {}
func (c *carriedCell) Descriptors() []int             { return nil }
func (c *carriedCell) Parked(func(func()), []int)     {}
func (c *carriedCell) ParkedDescriptors() []int       { return nil }
func (c *carriedCell) TakenBack([]int)                {}

type cellCarrier struct{}

func (cellCarrier) ExportCell(c process.Cell, _ *carry.Descriptors) (json.RawMessage, error) {
	return json.Marshal(c)
}

func (cellCarrier) RestoreCell(state json.RawMessage, _ *carry.Descriptors) (process.Cell, error) {
	c := &carriedCell{}
	return c, json.Unmarshal(state, c)
}

// same fails the test if a restored set has not the state that it was restored from.
func (st *stage) same(want *SetState) {
	st.t.Helper()
	got, err := st.set.Export(carry.NewDescriptors(), &service.SpecRecorder{})
	if err != nil {
		st.t.Fatal(err)
	}
	carrytest.Same(st.t, got, want)
}

// write writes to a worker's stderr, and waits until it was read.
func (st *stage) write(w *Worker, text string) {
	st.t.Helper()
	if _, err := unix.Write(st.stderrs[w.PID()], []byte(text)); err != nil {
		st.t.Fatal(err)
	}
	slowtest.Await(st.t, "the stderr of a worker to be read", func() bool {
		n, err := unix.IoctlGetInt(st.stderrs[w.PID()], unix.TIOCINQ)
		return err == nil && n == 0
	})
}

// lineOf returns what a reader has of a line.
func lineOf(r *StderrReader) string {
	r.reading.Lock()
	defer r.reading.Unlock()
	return string(r.lines.Export().Line)
}

// Whatever workers have come to, it goes over as it is.
func TestEverythingGoesOver(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { testGoesOver(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func testGoesOver(t *testing.T, r *rand.Rand) {
	st := newStage(t, spareProgram+"leftovers = 'kill'\n")
	st.set.UseCells(cellCarrier{})
	go st.set.Linger().Run()
	now := time.Now()
	at := func() time.Time { return now.Add(-time.Duration(r.Int64N(int64(time.Hour)))) }
	var all []*Worker
	for range r.IntN(20) {
		switch r.IntN(4) {
		case 0:
			if start, _ := st.pool.ReserveStart(now); start {
				w := st.start(NewSpare(st.pool, at()))
				st.set.Register(w)
				all = append(all, w)
			}
		case 1:
			if len(all) > 0 {
				if w := all[r.IntN(len(all))]; w.State() == Starting {
					st.say(w, ipc.Ready)
					st.set.Read(w)
				}
			}
		case 2:
			st.pool.Assign(st.connection(), at())
		default:
			all = append(all, st.serving())
		}
	}
	for _, w := range all {
		w.version = []string{"old", ipc.Version}[r.IntN(2)]
		if state := w.State(); state == Serving {
			w.report = &ipc.Report{BytesIn: r.Uint64() >> 1, BytesOut: 7, Reason: "\xff", Values: []ipc.Pair{{Key: "a", Value: "\x80"}}}
			w.clientGoneAt, w.endedForHangUp, w.cpuBefore, w.socket = at(), true, time.Duration(r.IntN(1e9)), r.Uint64()
			w.limit, w.leftovers, w.hungUpAt = LimitCPU, map[int]bool{r.IntN(1000): true}, at()
		}
		w.killed, w.termSentAt, w.nextIdleCheck, w.created = r.IntN(2) == 0, at(), at(), at()
		switch r.IntN(6) {
		case 0:
			st.write(w, fmt.Sprintf("one\ntwo\xff\nthree %d", r.Int()))
		case 1:
			w.failure = &ipc.Failure{Step: ipc.FailedExec, Errno: unix.ENOENT}
		case 2:
			w.remains = process.Remains{Leftovers: 3, Usage: &process.CellUsage{OOMKills: 1, CPUTime: 5, TasksPeak: 2}, Denied: process.Denied{Calls: []string{"mount"}, Killed: true}}
		case 3:
			st.say(w, []byte("nonsense"))
			st.set.Read(w)
		case 4:
			st.set.stopped(w, unix.SIGTSTP)
		case 5:
			w.child.Cell = &carriedCell{Name: fmt.Sprint(w.PID())}
			if r.IntN(2) == 0 {
				st.die(w)
				st.set.ReapAll()
				if r.IntN(2) == 0 {
					w.child.Cell.(*carriedCell).done(process.Remains{Leftovers: r.IntN(3)})
				}
			}
		}
	}
	var dead []*Worker
	for _, pid := range slices.Sorted(maps.Keys(st.set.table.workers)) {
		if r.IntN(8) == 0 {
			dead = append(dead, st.set.table.workers[pid])
		}
	}
	for _, w := range dead {
		state, c := w.Standing()
		v := &leaving{worker: w, exit: process.Exit{Pid: w.PID(), Status: 9, Usage: unix.Rusage{Maxrss: 3, Utime: unix.NsecToTimeval(5e9)}}, id: "c9", termAt: at(), seen: map[int]bool{5: true}, groupHad: true}
		w.reaped = true
		if r.IntN(2) == 0 {
			v.told = true
			st.set.sink.Exited(w, v.exit)
			if state == Starting {
				st.pool.Failed(now, true)
			}
			if c != nil {
				st.set.EndConnection(w, c)
			}
			w.stderr.Close()
		}
		delete(st.set.table.workers, w.PID())
		delete(st.set.stops.workers, w.PID())
		st.set.leftovers.leaving = append(st.set.leftovers.leaving, v)
	}
	st.set.leftovers.known[77] = orphan{session: 5, id: "c1", hidden: true, since: at()}
	st.set.leftovers.unclear[78] = at()
	st.set.table.earlyExits = []process.Exit{{Pid: 9, Status: 256}}
	st.set.stops.early[4] = unix.SIGSTOP
	next, state := st.next(spareProgram+"leftovers = 'kill'\n", ipc.Version)
	next.same(state)
	idle, starting := st.pool.Counts()
	counts := [3]int{idle, starting, len(st.pool.leaving)}
	got := [3]int{}
	pools := map[*Pool]bool{}
	for w := range next.set.every() {
		pools[w.pool] = true
	}
	for p := range pools {
		idle, starting := p.Counts()
		got = [3]int{got[0] + idle, got[1] + starting, got[2] + len(p.leaving)}
	}
	if got != counts {
		t.Errorf("%v workers are idle, starting and leaving, want %v", got, counts)
	}
	if !bytes.Equal(st.set.led.export(), next.set.led.export()) || next.set.Len() != st.set.Len() || next.set.Started() != st.set.Started() {
		t.Error("the counts differ")
	}
	st.set.Resume()
	next.set.Resume()
}
