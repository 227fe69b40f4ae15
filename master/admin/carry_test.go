package admin

import (
	"bufio"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/fdtest"
	"github.com/preforkd/preforkd/ipc/slowtest"
	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
)

// takeOver returns the servers of a program that takes over from s, which are paused, and
// their state. They have duplicates of the descriptors, because s is still there.
func takeOver(t *testing.T, s *Servers) (*Servers, *observer.ObservedLogs, State) {
	t.Helper()
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	state, err := s.Export(carry.NewDescriptors())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(state)
	if err != nil {
		t.Fatal(err)
	}
	var read State
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	d := carry.NewDescriptors()
	goOver := func(fd *carry.FD) {
		if *fd == carry.None {
			return
		}
		dup, err := unix.FcntlInt(uintptr(*fd), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			t.Fatal(err)
		}
		*fd = d.Keep(dup)
	}
	goOver(&read.Metrics)
	if read.Control != nil {
		goOver(&read.Control.Listener.FD)
		goOver(&read.Control.Listener.Directory)
	}
	core, logs := observer.New(zapcore.InfoLevel)
	next := New(nil, zap.New(core))
	if err := next.Restore(&read, d); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(next.Close) // before s, which finds that its file is gone
	if untaken := d.Untaken(); len(untaken) > 0 {
		t.Errorf("nobody has taken %d", untaken)
	}
	return next, logs, read
}

// A visitor asks for what is not there, which the server answers by itself.
type visitor struct {
	net.Conn
	t *testing.T
}

func visit(t *testing.T, network, address string) visitor {
	t.Helper()
	conn, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := conn.Write([]byte("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	return visitor{conn, t}
}

// waits expects that the visitor has no answer.
func (v visitor) waits() {
	v.t.Helper()
	if err := v.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		v.t.Fatal(err)
	}
	if n, err := v.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		v.t.Errorf("there is an answer, %v", err)
	}
}

// isAnswered expects that the visitor gets an answer.
func (v visitor) isAnswered() {
	v.t.Helper()
	if err := v.SetReadDeadline(time.Now().Add(slowtest.Scale(time.Minute))); err != nil {
		v.t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(v), nil)
	if err != nil {
		v.t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusNotFound {
		v.t.Errorf("%s", answer.Status)
	}
}

// Whoever comes while one program takes over from another is answered afterwards, at the
// same sockets.
func TestServersGoOver(t *testing.T) {
	s, _ := newServers(t)
	cfg := config.Config{Control: filepath.Join(t.TempDir(), "a"), Metrics: "127.0.0.1:0"}
	put(t, s, cfg)
	s.Serve()
	before, err := os.Lstat(cfg.Control)
	if err != nil {
		t.Fatal(err)
	}
	local := s.now.metrics.Local()

	next, logs, state := takeOver(t, s)
	again, err := next.Export(carry.NewDescriptors())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(state, again, addresses); diff != "" {
		t.Errorf("the state differs (- want, + got):\n%s", diff)
	}
	operator, scraper := visit(t, "unix", cfg.Control), visit(t, "tcp", local)
	put(t, next, cfg)
	next.Serve()
	wantEvents(t, logs)
	operator.waits()
	scraper.waits()
	if server, err := next.Control(); server == nil || err != nil || server.Path() != cfg.Control || server.Vanished() {
		t.Errorf("control %v, %v", server, err)
	}
	next.Resume()
	operator.isAnswered()
	scraper.isAnswered()
	if after, err := os.Lstat(cfg.Control); err != nil || !os.SameFile(before, after) {
		t.Errorf("the file is another one, %v", err)
	}
	visit(t, "tcp", local).isAnswered()
	visit(t, "unix", cfg.Control).isAnswered()

	// What was taken over can be handed over again.
	third, _, _ := takeOver(t, next)
	put(t, third, cfg)
	third.Resume()
	visit(t, "tcp", local).isAnswered()
	visit(t, "unix", cfg.Control).isAnswered()
}

var addresses = cmp.Comparer(func(a, b listen.ListenerState) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
})

// What the program that takes over has no use for is left as it is until Resume, because
// the program before may have to go on.
func TestServersAreReplacedWhileTheyGoOver(t *testing.T) {
	s, _ := newServers(t)
	dir := t.TempDir()
	cfg := config.Config{Control: filepath.Join(dir, "a"), Metrics: "127.0.0.1:0"}
	put(t, s, cfg)
	local := s.now.metrics.Local()
	next, logs, _ := takeOver(t, s)
	if leaving := next.Leaving(plan(t, config.Config{Metrics: "127.0.0.1:1"})); len(leaving) != 1 {
		t.Errorf("%d sockets leave, want that of the metrics", len(leaving))
	}
	moved := config.Config{Control: filepath.Join(dir, "b"), Metrics: "localhost:0"}
	put(t, next, moved)
	next.Serve()
	wantEvents(t, logs, logging.EventMetrics, logging.EventControl)
	visit(t, "tcp", local).waits()
	visit(t, "unix", cfg.Control).waits()
	operator, scraper := visit(t, "unix", moved.Control), visit(t, "tcp", next.now.metrics.Local())
	operator.waits()
	scraper.waits()
	next.Resume()
	operator.isAnswered()
	scraper.isAnswered()
	next.closing.Wait()
	if _, err := os.Lstat(cfg.Control); !os.IsNotExist(err) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

// If the upgrade has failed, the servers go on, and who has come meanwhile is answered.
func TestResume(t *testing.T) {
	s, logs := newServers(t)
	cfg := config.Config{Control: filepath.Join(t.TempDir(), "a"), Metrics: "127.0.0.1:0"}
	put(t, s, cfg)
	s.Serve()
	logs.TakeAll()
	for range 3 {
		wait, err := s.Settle()
		if err != nil {
			t.Fatal(err)
		}
		wait()
		operator, scraper := visit(t, "unix", cfg.Control), visit(t, "tcp", s.now.metrics.Local())
		operator.waits()
		scraper.waits()
		if _, err := s.Export(carry.NewDescriptors()); err != nil {
			t.Error(err)
		}
		s.Resume()
		operator.isAnswered()
		scraper.isAnswered()
	}
	wantEvents(t, logs)
}

// Servers of which there are none go over as none, with the reason.
func TestNoServersGoOver(t *testing.T) {
	s, _ := newServers(t)
	s.now.controlError = errors.New("no directory")
	open := fdtest.Open(t)
	next, logs, _ := takeOver(t, s)
	if server, err := next.Control(); server != nil || err == nil || err.Error() != "no directory" {
		t.Errorf("%v, %v", server, err)
	}
	put(t, next, config.Config{Control: config.ControlNone})
	next.Resume()
	wantEvents(t, logs)
	if now := fdtest.Open(t); now != open {
		t.Errorf("%d descriptors are open, want %d", now, open)
	}
}

// FuzzRestore: whatever a state says, it is an error or servers with the same state.
func FuzzRestore(f *testing.F) {
	for _, text := range []string{
		`{}`,
		`{"file":{"mode":-1,"uid":-1,"gid":-1},"metrics":-1,"control_error":"x"}`,
		`{"metrics":7,"metrics_address":":9","control":{"listener":{"fd":5,"local":"","path":"L3g=","file_device":1,"file_inode":2,"directory":6}}}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var state State
		if json.Unmarshal(text, &state) != nil {
			return
		}
		d := carry.NewDescriptors()
		for fd := range 10 {
			d.Keep(fd)
		}
		s := New(nil, zap.NewNop())
		if s.Restore(&state, d) != nil {
			return
		}
		again, err := s.Export(carry.NewDescriptors())
		if err != nil {
			t.Fatal(err)
		}
		was, now := encode(t, state), encode(t, again)
		if was != now {
			t.Errorf("the state was %s and is %s", was, now)
		}
	})
}

// encode returns a state as JSON. That a text is empty is the same as that there is none.
func encode(t *testing.T, s State) string {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), `""`, "null")
}
