package status

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/dispatch"
	"github.com/preforkd/preforkd/master/endpoints"
	"github.com/preforkd/preforkd/master/ledger"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/service/servicetest"
	"github.com/preforkd/preforkd/master/workers"
)

// sink is that of workers of whom nothing is heard.
type sink struct{}

func (sink) Message(*workers.Worker, ipc.Type, []byte) error { return nil }
func (sink) ChannelClosed(*workers.Worker)                   {}
func (sink) Violation(*workers.Worker, error)                {}
func (sink) Exited(*workers.Worker, process.Exit)            {}
func (sink) Reaped(int)                                      {}
func (sink) Stopped(*workers.Worker)                         {}
func (sink) Continued(*workers.Worker)                       {}

// child is a Starter that has started its process already: this number.
type child int

func (n child) Start(_ *process.Command, conn *os.File, _ []string, _ []byte) (*process.Child, error) {
	return &process.Child{Pid: int(n), Control: -1}, nil
}

func newRooms(t *testing.T, keys string, pid int) (*Rooms, *service.Spec) {
	t.Helper()
	spec := servicetest.Spec(t, keys, zap.NewNop())
	set, err := workers.NewSet(sink{}, zap.NewNop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.Close)
	r := &Rooms{
		Services: []*service.Service{spec.Owner()}, Workers: set, State: "serving",
		Endpoints: endpoints.NewSet(nil, false, zap.NewNop()), Dispatcher: dispatch.New(dispatch.Config{Starter: child(pid)}),
	}
	t.Cleanup(r.Endpoints.CloseAll)
	r.Dispatcher.Open(spec)
	plan, err := r.Endpoints.Plan([]*service.Spec{spec})
	if err != nil {
		t.Fatal(err)
	}
	r.Endpoints.Commit(plan)
	return r, spec
}

// serve has a connection served.
func serve(t *testing.T, r *Rooms, spec *service.Spec) *workers.Worker {
	t.Helper()
	c, _ := servicetest.Connection(t, spec, "c1")
	if err := r.Dispatcher.Dispatch(c); err != nil {
		t.Fatal(err)
	}
	w := r.Dispatcher.Take(nil)[0].Worker
	r.Dispatcher.Taken()
	r.Workers.Register(w)
	return w
}

// A status shows each connection and each service, with what the kernel knows,
// and counts that add up.
func TestComplete(t *testing.T) {
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer stdin.Close()
	r, spec := newRooms(t, "program = ['/bin/cat']\nmax-connections = 7\n", cmd.Process.Pid)
	w := serve(t, r, spec)
	spec.Owner().Gate.Refuse(0)
	spec.Owner().Ledger.Accepted()
	gone := service.New("gone", spec.Policy(), zap.NewNop())
	gone.Ledger.Accepted()
	r.Unused, r.Totals = []*service.Service{gone}, ledger.Totals{Accepted: 5, Refused: 2, Failed: 1, Completed: 2}

	log, err := logging.New(logging.Options{Format: logging.FormatJSON, Output: os.Stderr, Level: zapcore.ErrorLevel})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close(time.Second)
	s := Collect(r, time.Now(), true).Complete(Master{Started: time.Now().Add(-time.Minute), Config: "/etc/x.toml", Logger: log})
	if m := s.Master; m.State != "serving" || m.Live != 2 || m.Accepted != 8 || m.PID != os.Getpid() || m.Uptime < 60 || m.Config != "/etc/x.toml" || m.RSS == 0 || m.OpenFiles == 0 || len(m.Problems) != 0 {
		t.Errorf("%+v", m)
	}
	v := s.Services[0]
	if v.Live != 1 || v.Slots != 1 || v.Limit != 7 || v.State != Serving || v.Handler != "/bin/cat" || v.Refused != 1 || len(v.RefusedByReason) != 1 || v.Spares != nil {
		t.Errorf("%+v", v)
	}
	if len(v.Listeners) != 1 || v.Listeners[0].Queue == nil || v.Listeners[0].Backlog == nil {
		t.Errorf("%+v", v.Listeners)
	}
	if len(s.Connections) != 1 {
		t.Fatalf("%+v", s.Connections)
	}
	c := s.Connections[0]
	if c.ID != "c1" || c.PID != cmd.Process.Pid || c.State != "serving" || c.CPU == nil || c.RSS == nil || c.Age <= 0 {
		t.Errorf("%+v", c)
	}
	w.MarkKilled()
	if got := Collect(r, time.Now(), true).status.Connections[0].State; got != "ending" {
		t.Errorf("a killed worker's connection is %s", got)
	}
	if n := len(Collect(r, time.Now(), false).status.Connections); n != 0 {
		t.Errorf("%d connections in a summary", n)
	}
}

// A status tells of the upgrades of the master. A worker of its own version needs no
// version.
func TestUpgrades(t *testing.T) {
	r, spec := newRooms(t, "program = ['/bin/cat']\n", os.Getpid())
	serve(t, r, spec)
	first := Collect(r, time.Now(), true).status
	if m := first.Master; m.Generation != 1 || m.Upgrades.Count != 0 || m.Upgrades.Last != nil || first.Connections[0].Version != "" {
		t.Errorf("%+v", first)
	}
	r.Upgrades = control.Upgrades{Count: 2, Failed: 1, Last: &control.Upgrade{From: "1", To: "2"}}
	if m := Collect(r, time.Now(), false).status.Master; m.Generation != 3 || m.Upgrades != r.Upgrades {
		t.Errorf("%+v", m)
	}
}

// The state of a service follows its drain, and the master's.
func TestStateOf(t *testing.T) {
	s := servicetest.Spec(t, "program = ['/bin/cat']\n", zap.NewNop()).Owner()
	for _, c := range []struct {
		stopping bool
		live     uint64
		want     string
	}{{false, 0, Serving}, {true, 1, Draining}, {true, 0, Drained}} {
		if got := StateOf(s, c.stopping, c.live); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
	if s.Drain(); StateOf(s, false, 1) != Draining || StateOf(s, false, 0) != Drained {
		t.Error("a drained service is not")
	}
}

// The summary has one line of the master and one of each service.
func TestLogSummary(t *testing.T) {
	r, spec := newRooms(t, "program = ['/bin/cat']\nhandoff = 'worker'\nspares = 2\n", os.Getpid())
	core, logs := observer.New(zapcore.InfoLevel)
	serve(t, r, spec)
	LogSummary(r, zap.New(core))
	lines := logs.FilterMessage("status").All()
	if len(lines) != 1 || lines[0].ContextMap()["live"] != uint64(1) || lines[0].ContextMap()["state"] != "serving" {
		t.Errorf("%+v", lines)
	}
}

// BenchmarkCollect measures for how long a look at ten thousand connections keeps
// the loop, which reaps nobody meanwhile.
func BenchmarkCollect(b *testing.B) {
	const n = 10_000
	spec := servicetest.Spec(b, "program = ['/bin/cat']\nmax-connections = 20000\n", zap.NewNop())
	set, err := workers.NewSet(sink{}, zap.NewNop(), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer set.Close()
	r := &Rooms{Services: []*service.Service{spec.Owner()}, Workers: set,
		Endpoints: endpoints.NewSet(nil, false, zap.NewNop()), Dispatcher: dispatch.New(dispatch.Config{})}
	r.Dispatcher.Open(spec)
	for i := range n {
		c, client := servicetest.Connection(b, spec, "c1")
		unix.Shutdown(client, unix.SHUT_RDWR)
		w := workers.NewWorker(r.Dispatcher.Pool(spec), c)
		if err := w.Start(child(i + 1)); err != nil {
			b.Fatal(err)
		}
		set.Register(w)
	}
	for b.Loop() {
		if got := Collect(r, time.Now(), true); len(got.status.Connections) != n {
			b.Fatal(len(got.status.Connections))
		}
	}
}
