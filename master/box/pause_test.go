package box

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/ipc/slowtest"
	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/carry/carrytest"
	"github.com/preforkd/preforkd/master/process"
)

// A Manager that stood still, and was exported, goes on as if nothing had been.
func TestPauseIsUndone(t *testing.T) {
	h := open(t)
	b := h.box(strict(t))
	h.m.Use([]process.Box{b})
	c := h.command(b)
	w, err := h.start(c, "wait")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.view(); err != nil {
		t.Fatal(err)
	}
	h.run(c, "look")
	h.settle()
	idle := b.idlePIDs()
	if len(idle) == 0 {
		t.Fatal("no cell is idle")
	}
	before := len(descriptors(t))
	type result struct {
		w   *worker
		err error
	}
	waiting := make(chan result, 1)
	h.do(func() {
		if err := h.m.Pause(time.Now().Add(slowtest.Scale(time.Minute))); err != nil {
			t.Error(err)
			return
		}
		if len(b.idlePIDs()) > 0 {
			t.Error("cells are idle")
		}
		d := carry.NewDescriptors()
		state, err := h.m.Export(d)
		if err != nil {
			t.Error(err)
		}
		cell, err := h.m.ExportCell(w.child.Cell, d)
		if err != nil {
			t.Error(err)
		}
		// The cells that were idle are to be reaped yet.
		if len(state.Cells) != len(idle) || !strings.Contains(string(cell), `"worker":`) {
			t.Errorf("%d cells end, want %d; the cell of the worker is %s", len(state.Cells), len(idle), cell)
		}
		go func() {
			w, err := h.start(c, "look")
			waiting <- result{w, err}
		}()
		for deadline := time.Now().Add(10 * time.Millisecond); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if len(waiting) > 0 {
				t.Error("something was started meanwhile")
			}
		}
		h.m.Resume()
	})
	var next result
	select {
	case next = <-waiting:
	case <-time.After(slowtest.Scale(time.Minute)):
		t.Fatal("nothing is started any more")
	}
	if next.err != nil {
		t.Fatal(next.err)
	}
	h.finish(next.w, "look")
	if x, err := w.wait(); err != nil || x.failure != nil || x.Status.ExitStatus() != 0 || !x.kept {
		t.Errorf("%+v, %v", x, err)
	}
	h.await("the cells that were idle are known", func() bool { return !slices.ContainsFunc(idle, h.m.IsHolder) })
	h.settle()
	if after := len(descriptors(t)); after > before+2*(inspectAtOnce+1) {
		t.Errorf("there were %d descriptors, and are %d", before, after)
	}
}

// What takes longer than until the deadline keeps a Manager from standing still, and it goes
// on.
func TestPauseGivesUp(t *testing.T) {
	h := open(t)
	b := h.box(strict(t))
	busy, end := make(chan struct{}), make(chan struct{})
	h.m.janitor.do(func() { close(busy); <-end })
	<-busy
	if err := h.m.Pause(time.Now().Add(time.Millisecond)); err == nil || !strings.Contains(err.Error(), "the end of a process") {
		t.Errorf("the janitor is at work: %v", err)
	}
	close(end)
	if err := h.m.beginStart(); err != nil {
		t.Fatal(err)
	}
	if err := h.m.Pause(time.Now().Add(time.Millisecond)); err == nil || !strings.Contains(err.Error(), "the start of a process") {
		t.Errorf("something is being started: %v", err)
	}
	h.m.endStart()
	h.run(h.command(b), "look")
	h.settle()
	if err := h.m.Pause(time.Now().Add(slowtest.Scale(time.Minute))); err != nil {
		t.Error(err)
	}
	// The house closes a Manager that stands still.
}

// A Manager that has never had a box goes over, too.
func TestCarryNothing(t *testing.T) {
	m := NewManager(nil, zap.NewNop())
	defer m.Close()
	if err := m.Pause(time.Now()); err != nil {
		t.Fatal(err)
	}
	d := carry.NewDescriptors()
	state, err := m.Export(d)
	if err != nil {
		t.Fatal(err)
	}
	m.Resume()
	again, taken := carrytest.Again(t, &state, d)
	next := NewManager(nil, zap.NewNop())
	defer next.Close()
	if err := next.Restore(again, taken); err != nil {
		t.Fatal(err)
	}
	if is, err := next.Export(carry.NewDescriptors()); err != nil {
		t.Error(err)
	} else {
		carrytest.Same(t, is, state)
	}
	next.Resume()
	if _, err := m.ExportCell(nil, d); err == nil {
		t.Error("no cell is exported")
	}
}

// notOpen is a number that no descriptor of the test has.
const notOpen = 1 << 24

// restored returns a Manager that was given a state, with some descriptors that went over and
// are not open.
func restored(state *State) (*Manager, *carry.Descriptors, error) {
	d := carry.NewDescriptors()
	for i := range 8 {
		d.Keep(notOpen + i)
	}
	m := NewManager(nil, zap.NewNop())
	return m, d, m.Restore(state, d)
}

// discard closes a Manager whose cells and cgroups are none.
func discard(m *Manager) {
	m.mu.Lock()
	clear(m.holders)
	clear(m.probes)
	m.carry, m.boxes = carried{}, nil
	m.mu.Unlock()
	m.groups.mu.Lock()
	m.groups.services = nil
	m.groups.mu.Unlock()
	m.Close()
}

// withReports returns a state with what each box needs.
func withReports(s State) State {
	s.Reports = &ReportsState{In: notOpen, Out: notOpen + 1}
	return s
}

// What is no state is an error.
func TestRestoreRefuses(t *testing.T) {
	holder := &HolderState{PID: 7, PIDFD: notOpen + 2, Control: carry.None}
	for name, s := range map[string]State{
		"a box without reports":    {Boxes: []BoxState{{}}},
		"reports that are shut":    {Reports: &ReportsState{In: carry.None, Out: carry.None}},
		"a subject of nobody":      withReports(State{Boxes: []BoxState{{Subject: 1}}}),
		"a cgroup that is none":    withReports(State{Boxes: []BoxState{{Service: "one", Cgroup: true}}}),
		"a cell without a box":     withReports(State{Cells: []CellState{{Holder: holder}}}),
		"a cell that nobody holds": withReports(State{Boxes: []BoxState{{}}, Cells: []CellState{{}}}),
		"a cell that is left":      withReports(State{Boxes: []BoxState{{}}, Cells: []CellState{{Holder: holder, Leaving: true}}}),
		"the pid of init":          withReports(State{Boxes: []BoxState{{}}, Cells: []CellState{{Holder: &HolderState{PID: 1, PIDFD: notOpen + 2, Control: carry.None}}}}),
		"a uid twice":              withReports(State{Boxes: []BoxState{{}}, Cells: []CellState{{UID: 61184, Holder: holder}, {UID: 61184, Holder: &HolderState{PID: 8, PIDFD: notOpen + 3, Control: carry.None}}}}),
		"a descriptor twice":       withReports(State{Boxes: []BoxState{{}}, Cells: []CellState{{Holder: holder}, {Holder: holder}}}),
	} {
		m, _, err := restored(&s)
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		discard(m)
	}
	s := withReports(State{Boxes: []BoxState{{PrivatePIDs: true}}})
	m, d, err := restored(&s)
	if err != nil {
		t.Fatal(err)
	}
	defer discard(m)
	for name, text := range map[string]string{
		"nothing":            ``,
		"null":               `null`,
		"what nobody knows":  `{"box":0,"more":1}`,
		"two":                `{"box":0}{}`,
		"no box":             `{"box":1}`,
		"no first process":   `{"box":0,"worker":5}`,
		"a cgroup":           `{"box":0,"holder":{"pid":7,"pidfd":16777218,"control":16777219},"cgroup":{"service":"one","name":"leaf-1","peak":-1}}`,
		"too few":            `{"box":0,"holder":{"pid":7,"pidfd":16777218,"control":-1}}`,
		"strange descriptor": `{"box":0,"holder":{"pid":7,"pidfd":3,"control":4}}`,
	} {
		if _, err := m.RestoreCell(json.RawMessage(text), d); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Any state is a Manager or an error, and what there is of it can be exported.
func FuzzRestore(f *testing.F) {
	f.Add([]byte(`{"boxes":[{"service":"","private_pids":true,"cgroup":false,"siblings":true,"subject":0}],"cells":[{"box":0,"uid":61184,"worker":5,"holder":{"pid":7,"pidfd":16777218,"control":-1,"reaped":false}}],"probes":[9],"reports":{"in":16777216,"out":16777217,"read":[{"pid":1,"action":4,"number":7,"errno":1}]}}`),
		[]byte(`{"box":0,"uid":0,"worker":5,"holder":{"pid":8,"pidfd":16777219,"control":16777220,"reaped":false},"leaving":false}`))
	f.Fuzz(func(t *testing.T, text, one []byte) {
		var s State
		if json.Unmarshal(text, &s) != nil {
			return
		}
		m, d, err := restored(&s)
		defer discard(m)
		if err != nil {
			return
		}
		d.Keep(notOpen + 100)
		if c, err := m.RestoreCell(one, d); err == nil {
			if _, err := m.ExportCell(c, carry.NewDescriptors()); err != nil && c.(*cell).group == nil {
				t.Error(err)
			}
			c.Holds()
			c.Descriptors()
		}
		if _, err := m.Export(carry.NewDescriptors()); err != nil {
			t.Log(err)
		}
	})
}
