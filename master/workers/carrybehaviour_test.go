package workers

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/ipc/slowtest"
	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/redact"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/service/servicetest"
)

// A connection on its way to a spare is acknowledged after the hand-over, and half a line
// is ended then.
func TestGoesOnAfterwards(t *testing.T) {
	st := newStage(t, spareProgram)
	now := time.Now()
	st.spare(now.Add(-time.Second))
	assigned, starting := st.spare(now), st.starting(now)
	if w := st.pool.Assign(st.connection(), now); w != assigned {
		t.Fatal("another spare has the connection")
	}
	serving := st.serving()
	st.write(serving, "half")
	next, _ := st.next(spareProgram, ipc.Version)
	next.set.Resume()
	stop := make(chan struct{})
	ended := make(chan struct{})
	go func() { next.set.Poll(stop); close(ended) }()
	defer func() { close(stop); next.set.poller.close(); <-ended }()

	next.say(assigned, ipc.Ack)
	next.say(starting, ipc.Ready)
	slowtest.Await(t, "messages after the hand-over", func() bool {
		select {
		case pids := <-next.set.Ready():
			next.set.ReadReady(pids)
		case <-time.After(time.Millisecond):
		}
		return next.worker(assigned.PID()).State() == Serving && next.worker(starting.PID()).State() == Idle
	})
	if ready, starting := next.pool.Counts(); ready != 2 || starting != 0 {
		t.Errorf("%d spares are ready and %d starting, want 2 and 0", ready, starting)
	}
	w := next.worker(serving.PID())
	next.stderrs = st.stderrs
	next.write(w, " a line\n")
	c := w.Connection()
	next.die(w)
	next.set.ReapAll()
	w.stderr.Close()
	if tail := w.stderr.Tail(w.TailSince()); tail != "half a line" {
		t.Errorf("the worker has said %q at last", tail)
	}
	if line := next.logs.FilterMessage("stderr").All(); len(line) != 1 || line[0].ContextMap()["conn"] != c.ID {
		t.Errorf("the log has %v", line)
	}
	if next.worker(assigned.PID()).holdsCopy {
		t.Error("the copy of a connection was not closed when it was acknowledged")
	}
	if w := next.pool.Assign(next.connection(), time.Now()); w == nil || w.PID() != starting.PID() {
		t.Error("the spare that was used last is not the first")
	}
	st.set.Resume()
}

// What another version has started, and what a changed service has, goes when it has no
// connection: after Resume and not before.
func TestOutdatedGo(t *testing.T) {
	for _, test := range []struct {
		name, keys, version string
		stays               bool
	}{
		{"same", spareProgram, ipc.Version, true},
		{"other version", spareProgram, "2.0", false},
		{"other configuration", spareProgram + "idle-timeout = '5s'\n", ipc.Version, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			st := newStage(t, spareProgram)
			idle, reused := st.spare(time.Now()), st.serving()
			next, _ := st.next(test.keys, test.version)
			spare, w := next.worker(idle.PID()), next.worker(reused.PID())
			if spare.State() != Idle || spare.Version() != ipc.Version {
				t.Fatalf("before Resume the spare of %s is %v", spare.Version(), spare.State())
			}
			next.set.Resume()
			want := Retiring
			if test.stays {
				want = Idle
			}
			if spare.State() != want {
				t.Errorf("the spare is %v, want %v", spare.State(), want)
			}
			if c := w.Pool().GiveBack(w, time.Now()); (c != nil) != test.stays || w.State() != want {
				t.Errorf("a worker that came back is %v, want %v", w.State(), want)
			}
			if ready, _ := next.pool.Counts(); test.stays != (ready == 2) {
				t.Errorf("%d spares are ready", ready)
			}
			st.set.Resume()
		})
	}
}

// While a set is paused nothing is read and nothing lost.
func TestPause(t *testing.T) {
	st := newStage(t, spareProgram)
	w := st.serving()
	st.write(w, "a")
	if err := st.set.Pause(); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(st.stderrs[w.PID()], []byte("b\n")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond) // time for who would read
	if line := w.stderr.lines.Export(); string(line.Line) != "a" {
		t.Errorf("%q was read", line.Line)
	}
	if n, err := unix.IoctlGetInt(st.stderrs[w.PID()], unix.TIOCINQ); n != 2 || err != nil {
		t.Errorf("%d bytes are in the pipe, %v", n, err)
	}
	st.set.Resume()
	slowtest.Await(t, "the line", func() bool { return st.logs.FilterMessage("stderr").Len() == 1 })
}

// What is parked comes back, so that it can go over, and is parked again.
func TestParkedComeBack(t *testing.T) {
	st := newStage(t, stdioProgram)
	long := time.Now().Add(-time.Minute)
	var clients []int
	for range 2 * mostNear {
		_, client := st.program(long)
		clients = append(clients, client)
	}
	parked := func(s *stage) (n int) {
		for w := range s.set.All() {
			if w.parkedCopy.thread != nil {
				n++
			}
		}
		return n
	}
	if parked(st) == 0 {
		t.Fatal("nothing is parked")
	}
	if err := st.set.TakeBack(); err != nil {
		t.Fatal(err)
	}
	_, client := st.program(long)
	clients = append(clients, client)
	if n := parked(st); n != 0 {
		t.Errorf("%d copies are still parked, or again with the next worker", n)
	}
	for range parkBatch { // no upgrade comes
		_, client := st.program(long)
		clients = append(clients, client)
	}
	if n := parked(st); n < mostNear {
		t.Errorf("%d copies were parked again with later workers", n)
	}
	state, _, _ := st.export()
	if n := parked(st); n != 0 || len(state.Workers) != len(clients) {
		t.Errorf("%d of %d copies are still parked", n, len(state.Workers))
	}
	st.set.Resume()
	next, _ := st.next(stdioProgram, ipc.Version)
	next.set.Resume()
	st.set.Resume()
	for _, s := range []*stage{st, next} {
		if n := parked(s); n < mostNear {
			t.Errorf("%d copies were parked again", n)
		}
	}
	for w := range st.set.All() { // the copies of the former program
		st.set.giveUpCopy(w, w.Connection())
	}
	go next.set.Linger().Run()
	for w := range next.set.All() {
		next.end(w)
	}
	for _, client := range clients {
		expectEnd(t, client)
	}
}

// Where there is no room for what is parked, nothing is paused.
func TestPauseWithoutRoom(t *testing.T) {
	st := newStage(t, stdioProgram)
	for range 2 * mostNear {
		st.program(time.Now().Add(-time.Minute))
	}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	free, err := unix.Dup(0) // the lowest number that is free
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(free)
	few := unix.Rlimit{Cur: uint64(free) + 10, Max: old.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	err = st.set.Pause()
	unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
	if !errors.Is(err, unix.EMFILE) {
		t.Fatalf("paused: %v", err)
	}
	if err := st.set.Pause(); err != nil { // which would wait for ever if it were paused
		t.Fatal(err)
	}
	st.set.Resume()
}

// A worker whose cell is not empty is told of once that is empty, after the hand-over as
// before.
func TestCellsGoOver(t *testing.T) {
	st := newStage(t, sdkProgram)
	st.set.UseCells(cellCarrier{})
	var cells []*carriedCell
	for range 2 {
		w := st.serving()
		cell := &carriedCell{Name: "c"}
		w.child.Cell = cell
		cells = append(cells, cell)
		st.die(w)
	}
	st.set.ReapAll()
	cells[0].done(process.Remains{Leftovers: 1})
	next, _ := st.next(sdkProgram, ipc.Version)
	if next.set.Len() != 2 {
		t.Fatalf("%d workers are there, want 2", next.set.Len())
	}
	next.set.Resume()
	<-next.set.CellsOver()
	next.set.TakeCells()
	if next.set.Len() != 1 || len(next.told) != 1 {
		t.Errorf("%d workers are left, the sink was told %q", next.set.Len(), next.told)
	}
	for w := range next.set.Leaving() {
		cell := w.child.Cell.(*carriedCell)
		if !cell.left {
			t.Fatal("the cell was not given back")
		}
		cell.done(process.Remains{Leftovers: 2})
	}
	next.set.TakeCells()
	if next.set.Len() != 0 || len(next.told) != 2 {
		t.Errorf("%d workers are left, the sink was told %q", next.set.Len(), next.told)
	}
	st.set.Resume()
}

// A state that makes no sense is an error.
func TestRestoreErrors(t *testing.T) {
	good := func() *SetState {
		return &SetState{Workers: []WorkerState{{PID: 100, State: "starting", Control: carry.None}}}
	}
	for name, test := range map[string]struct {
		change func(*SetState)
		want   string
	}{
		"nothing":             {func(*SetState) {}, ""},
		"pid 1":               {func(s *SetState) { s.Workers[0].PID = 1 }, "no child's pid"},
		"pid too large":       {func(s *SetState) { s.Workers[0].PID = maxPID }, "no child's pid"},
		"twice":               {func(s *SetState) { s.Workers = append(s.Workers, s.Workers[0]) }, "two of them"},
		"spec":                {func(s *SetState) { s.Workers[0].Spec = 7 }, "no configuration 7"},
		"state":               {func(s *SetState) { s.Workers[0].State = "asleep" }, "asleep"},
		"no connection":       {func(s *SetState) { s.Workers[0].State = "serving" }, "has a connection: false"},
		"copy":                {func(s *SetState) { s.Workers[0].HoldsCopy = true }, "copy"},
		"descriptor":          {func(s *SetState) { s.Workers[0].Control = 4711 }, "4711"},
		"stderr":              {func(s *SetState) { s.Workers[0].Stderr = &StderrState{FD: carry.None} }, "without a descriptor"},
		"cell":                {func(s *SetState) { s.Workers[0].Cell = json.RawMessage("{}") }, "nobody knows its cell"},
		"report":              {func(s *SetState) { s.Workers[0].Report = &ReportState{BytesIn: 1 << 63} }, "bytes"},
		"sessions":            {func(s *SetState) { s.Sessions = make([]byte, maxPID/8+1) }, "sessions"},
		"exit of another":     {func(s *SetState) { s.Leaving = []LeavingState{{Worker: s.Workers[0], Exit: ExitState{PID: 7}}} }, "its exit is that of 7"},
		"no cell":             {func(s *SetState) { s.InCells = []CellLeavingState{{Worker: s.Workers[0], Exit: ExitState{PID: 100}}} }, "no cell"},
		"early exit":          {func(s *SetState) { s.EarlyExits = []ExitState{{PID: -1}} }, "no child's pid"},
		"less than no memory": {func(s *SetState) { s.EarlyExits = []ExitState{{PID: 5, MaxRSS: -1}} }, "less than nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			state := good()
			test.change(state)
			err := restoreAlone(t, state, carry.NewDescriptors())
			if test.want == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// restoreAlone restores a state of workers of one service, and exports it again.
func restoreAlone(t testing.TB, state *SetState, d *carry.Descriptors) error {
	t.Helper()
	set, err := NewSet(&stage{t: t}, zap.NewNop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	spec := servicetest.Spec(t, sdkProgram, zap.NewNop())
	specs := &service.SpecRecorder{}
	owner := spec.Owner().Export(specs)
	restored, err := service.RestoreSpecs(specs.States(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := service.RestoreService(&owner, restored, zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	if err := set.Restore(state, d, restored, RestoreOptions{Version: "dev", Redact: &redact.Policy{}, Pool: NewPool}); err != nil {
		return err
	}
	_, err = set.Export(carry.NewDescriptors(), &service.SpecRecorder{})
	return err
}

// FuzzRestore restores what others have made up: there is an error, or a set.
func FuzzRestore(f *testing.F) {
	seeds := []SetState{
		{},
		{Workers: []WorkerState{{PID: 100, State: "idle", Control: 9000, Stderr: &StderrState{FD: 9001}, Leftovers: []int{1}}}, Sessions: []byte{1}},
		{Leaving: []LeavingState{{Worker: WorkerState{PID: 9, State: "broken", Control: -1}, Exit: ExitState{PID: 9}, Seen: []int{4}}}},
		{InCells: []CellLeavingState{{Worker: WorkerState{PID: 9, State: "broken", Control: -1}, Exit: ExitState{PID: 9}, Empty: true}}, EarlyExits: []ExitState{{PID: 2}}},
	}
	for i := range seeds {
		text, err := json.Marshal(&seeds[i])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var state SetState
		if json.Unmarshal(text, &state) != nil {
			return
		}
		// As in a rehearsal these are only numbers.
		d := carry.NewDescriptors()
		for fd := 9000; fd < 9008; fd++ {
			d.Keep(fd)
		}
		_ = restoreAlone(t, &state, d)
	})
}
