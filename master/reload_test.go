package master

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/reloading"
)

// A reloadStage is a stage whose reloads come to an end when the test says so.
type reloadStage struct {
	*stage
	begun []func()
}

func newReloadStage(t *testing.T) *reloadStage {
	st := &reloadStage{stage: newStage(t, spareKeys)}
	t.Cleanup(st.end)
	path := filepath.Join(t.TempDir(), "preforkd.toml")
	text := "[master]\nworker-binary = '/bin/true'\ncontrol = 'none'\n" + otherText + "[service.test]\n" + listenText + spareKeys
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	st.reloads = reloading.New(path)
	st.loop.background = func(f func()) { st.begun = append(st.begun, f) }
	return st
}

// ask asks for a reload and returns where its outcome will be.
func (st *reloadStage) ask() <-chan reloading.Outcome {
	w := make(chan reloading.Outcome, 1)
	st.Master.reload(reloading.Waiters{w})
	return w
}

// finish has the reload of a number come to its end.
func (st *reloadStage) finish(n int) {
	go st.begun[n]()
	st.finishReload(<-st.loop.compiled)
}

func (st *reloadStage) problem() string { return st.reloads.Problem() }

func (st *reloadStage) events(msg string) int { return st.logs.FilterMessage(msg).Len() }

// wantError expects an outcome that says this.
func wantError(t *testing.T, w <-chan reloading.Outcome, text string) {
	t.Helper()
	select {
	case o := <-w:
		e, ok := o.Err.(*control.Error)
		if !ok || e.Kind != control.Unavailable || !strings.HasPrefix(e.Text, text) {
			t.Errorf("got %v, want %s", o.Err, text)
		}
	default:
		t.Errorf("nothing was said, want %s", text)
	}
}

func wantReloaded(t *testing.T, w <-chan reloading.Outcome) {
	t.Helper()
	select {
	case o := <-w:
		if o.Err != nil {
			t.Error(o.Err)
		}
	default:
		t.Error("nothing was said")
	}
}

// A reload that does not come to an end keeps no other one from being done, and
// those that wait are told. Of reloads that were given up there is one at most.
func TestStalledReload(t *testing.T) {
	st := newReloadStage(t)
	if st.problem() != "" || st.reloads.Timeout() != nil {
		t.Fatal("there is a reload")
	}
	first := st.ask()
	if st.problem() != "" || st.reloads.Timeout() == nil {
		t.Errorf("problem %q at the beginning", st.problem())
	}
	st.reloadOverdue()
	wantError(t, first, "not reloaded yet: a reload has been under way since ")
	if st.events("reload overdue") != 1 || !strings.HasPrefix(st.problem(), "a reload has been under way since ") {
		t.Errorf("problem %q", st.problem())
	}

	// The next one does not wait for it.
	second := st.ask()
	if len(st.begun) != 2 {
		t.Fatalf("%d reloads have begun", len(st.begun))
	}
	st.finish(1)
	wantReloaded(t, second)
	if st.problem() == "" {
		t.Error("there is no problem, and a reload hangs")
	}

	// A third one hangs, too: now there is no other.
	third := st.ask()
	st.reloadOverdue()
	wantError(t, third, "not reloaded yet: ")
	wantError(t, st.ask(), "not reloaded: a reload has been under way since ")
	if len(st.begun) != 3 || st.events("not reloaded") != 1 {
		t.Errorf("%d reloads have begun", len(st.begun))
	}

	// What was given up changes nothing. What is late does: nobody has asked for
	// anything since.
	st.finish(0)
	if st.events("reloaded") != 1 || st.problem() == "" {
		t.Errorf("%d reloaded, problem %q", st.events("reloaded"), st.problem())
	}
	st.finish(2)
	if st.events("reloaded") != 2 || st.problem() != "" || st.reloads.Timeout() != nil {
		t.Errorf("%d reloaded, problem %q", st.events("reloaded"), st.problem())
	}
	last := st.ask()
	st.finish(3)
	wantReloaded(t, last)
}

// Who has asked while a reload was under way is served when it turns out to hang.
// A drain that was asked for after that is not undone.
func TestStalledReloadWithAnotherQueued(t *testing.T) {
	st := newReloadStage(t)
	s, other := st.spec().Owner(), st.services.byName["other"]
	first := st.ask()
	st.drainService(other, "test")
	second := st.ask()
	st.drainService(s, "test")
	st.reloadOverdue()
	wantError(t, first, "not reloaded yet: ")
	if len(st.begun) != 2 {
		t.Fatalf("%d reloads have begun", len(st.begun))
	}
	st.finish(1)
	wantReloaded(t, second)
	if !s.Draining() || other.Draining() {
		t.Errorf("drained after the reload was asked for: %v; before: %v", s.Draining(), other.Draining())
	}
	st.finish(0)
	if len(st.begun) != 2 || st.events("reloaded") != 1 {
		t.Errorf("%d begun, %d reloaded", len(st.begun), st.events("reloaded"))
	}
}

// A reload that was asked for and refused, because too many hang, has no part in what
// becomes of drains: the next one is asked for after them, and brings services back.
func TestDrainAfterRefusedReload(t *testing.T) {
	st := newReloadStage(t)
	other := st.services.byName["other"]
	st.ask()
	st.reloadOverdue()
	st.ask() // in the place of the first one, which hangs
	refused := st.ask()
	st.drainService(other, "test")
	st.reloadOverdue()
	wantError(t, refused, "not reloaded: ")
	st.finish(1)
	if !other.Draining() {
		t.Error("a reload that was asked for before the drain has undone it")
	}
	last := st.ask()
	st.finish(2)
	wantReloaded(t, last)
	if other.Draining() {
		t.Error("a reload that was asked for after the drain has not brought the service back")
	}
}
