package admin

import (
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/preforkd/preforkd/ipc/fdtest"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/logging"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newServers returns Servers that nobody asks anything of, and their log.
func newServers(t *testing.T) (*Servers, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zapcore.InfoLevel)
	s := New(nil, zap.New(core))
	t.Cleanup(s.Close)
	return s, logs
}

func plan(t *testing.T, cfg config.Config) Plan {
	t.Helper()
	p, err := NewPlan(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// put opens what a configuration asks for, in the place of what is open.
func put(t *testing.T, s *Servers, cfg config.Config) {
	t.Helper()
	next, err := s.Open(plan(t, cfg), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Swap(next)
}

// wantEvents expects these events since the last call.
func wantEvents(t *testing.T, logs *observer.ObservedLogs, want ...string) {
	t.Helper()
	var got []string
	for _, e := range logs.TakeAll() {
		got = append(got, e.Message)
	}
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		t.Errorf("events %q, want %q", got, want)
	}
}

func TestResolveMetrics(t *testing.T) {
	for address, want := range map[string]string{"": "", ":0": ":0", "127.0.0.1:9": "127.0.0.1:9", "localhost:9": "127.0.0.1:9"} {
		if got, err := resolveMetrics(address); got != want || err != nil {
			t.Errorf("%q: %q, %v", address, got, err)
		}
	}
}

// A master with one connection to serve has a control socket only if somebody asks
// for its path.
func TestPlanOfControl(t *testing.T) {
	for _, test := range []struct {
		cfg       config.Config
		wantPath  bool
		automatic bool
	}{
		{config.Config{Control: config.ControlNone}, false, false},
		{config.Config{Control: config.ControlAuto}, true, true},
		{config.Config{Control: config.ControlAuto, Run: config.Run{Once: true}}, false, false},
		{config.Config{Control: "/run/test.sock", Run: config.Run{Once: true}}, true, false},
	} {
		p := plan(t, test.cfg)
		if (p.path != "") != test.wantPath || p.automatic != test.automatic {
			t.Errorf("%q, once %v: path %q, automatic %v", test.cfg.Control, test.cfg.Once, p.path, p.automatic)
		}
	}
}

// Opening waits for no name server: the names of this plan are gone by then.
func TestOpenLooksNothingUp(t *testing.T) {
	s, _ := newServers(t)
	p := plan(t, config.Config{Control: config.ControlNone, Metrics: "127.0.0.1:0"})
	p.metricsAddress = "nobody.invalid:0"
	next, err := s.Open(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Swap(next)
	if local := s.now.metrics.Local(); !strings.HasPrefix(local, "127.0.0.1:") {
		t.Errorf("metrics are at %s", local)
	}
}

// What a configuration leaves as it is stays open, and the log does not tell of it.
func TestSwap(t *testing.T) {
	s, logs := newServers(t)
	dir := t.TempDir()
	cfg := config.Config{Control: filepath.Join(dir, "a"), Metrics: "127.0.0.1:0"}
	put(t, s, cfg)
	wantEvents(t, logs, logging.EventControl, logging.EventMetrics)
	first, _ := s.Control()
	metrics := s.now.metrics

	put(t, s, cfg)
	if now, err := s.Control(); now != first || err != nil || s.now.metrics != metrics {
		t.Errorf("control %p, %v, metrics %p: want those that there were", now, err, s.now.metrics)
	}
	wantEvents(t, logs)

	cfg.Control = filepath.Join(dir, "b")
	put(t, s, cfg)
	if now, _ := s.Control(); now == nil || now.Path() != cfg.Control || s.now.metrics != metrics {
		t.Errorf("the control socket has not moved, or the metrics have")
	}
	wantEvents(t, logs, logging.EventControl)

	put(t, s, config.Config{Control: config.ControlNone})
	if now, err := s.Control(); now != nil || err != nil || s.now.metrics != nil {
		t.Errorf("control %p, %v, metrics %p: want none", now, err, s.now.metrics)
	}
	wantEvents(t, logs, logging.EventControl)
}

// A configuration whose servers cannot all be opened leaves those that there are as
// they are, and nothing else open.
func TestOpenFails(t *testing.T) {
	s, logs := newServers(t)
	dir := t.TempDir()
	put(t, s, config.Config{Control: filepath.Join(dir, "a"), Metrics: "127.0.0.1:0"})
	logs.TakeAll()
	before := s.now
	other, _ := newServers(t)
	put(t, other, config.Config{Control: filepath.Join(dir, "b")})
	open := fdtest.Open(t)

	p := plan(t, config.Config{Control: filepath.Join(dir, "b"), Metrics: "localhost:0"})
	if _, err := s.Open(p, nil); err == nil || !strings.HasPrefix(err.Error(), "control socket: ") {
		t.Errorf("got %v, want that the control socket is another master's", err)
	}
	if s.now != before {
		t.Error("the servers have changed")
	}
	wantEvents(t, logs)
	if now := fdtest.Open(t); now != open {
		t.Errorf("%d descriptors are open, want %d: what was opened is closed again", now, open)
	}
}
