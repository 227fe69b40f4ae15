package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// stderrKinds are programs that write to fd 2, and then greet their client, in
// every handoff.
func stderrKinds(t *testing.T, script string) map[string]string {
	greet := script + `; if [ "$LISTEN_FDS" ]; then exec >&3; fi; echo good`
	worker := fmt.Sprintf("program = [%q, %q]\nhandoff = \"worker\"\n",
		systest.Program(t, "cmd/internal/systest/testworker"), "noisy")
	return map[string]string{
		"stdio":           fmt.Sprintf("program = [\"/bin/sh\", \"-c\", %q]\n", greet),
		"stdio, spares":   fmt.Sprintf("program = [\"/bin/sh\", \"-c\", %q]\nspares = 2\n", greet),
		"systemd, spares": fmt.Sprintf("program = [\"/bin/sh\", \"-c\", %q]\nhandoff = \"systemd\"\nspares = 2\n", greet),
		"worker":          worker,
		"worker, spares":  worker + "spares = 2\n",
	}
}

// A reader of the log that is dead ends no program by SIGPIPE, and one that has
// stopped reading keeps none waiting, whatever leads to the master's stderr.
func TestDeadLogReader(t *testing.T) {
	t.Parallel()
	for kind, keys := range stderrKinds(t, "i=0; while [ $i -lt 40 ]; do head -c 5000 /dev/zero | tr '\\\\0' x >&2; echo >&2; i=$((i+1)); done") {
		for reader, stop := range map[string]func(*systest.Master){
			"dead":    func(m *systest.Master) { m.CloseLog(t) },
			"stopped": func(m *systest.Master) { m.PauseLog() },
		} {
			t.Run(kind+"/"+reader, func(t *testing.T) {
				t.Parallel()
				m := configured(t, 1, single(keys))
				m.LossyLog = true
				if strings.Contains(kind, "spares") {
					m.Spares = 2
					m.WaitSpares(t, 2)
					m.Baseline(t)
				}
				stop(m)
				for range 5 {
					if got := m.Dial(t).ExpectEnd(t); got != "good\n" {
						t.Errorf("the client got %q", got)
					}
				}
				systest.Until(t, "all served", func() bool { return looked(t, m).Services[0].Reaped == 5 }, nil)
				for _, exit := range looked(t, m).Services[0].Work.Exits {
					if exit.Signal != "" || *exit.Code != 0 {
						t.Errorf("%+v", exit)
					}
				}
				if reader == "dead" {
					m.Signal(t, syscall.SIGTERM)
					m.WaitExit(t)
				}
			})
		}
	}
}

// The last lines of a worker that fails are in its event, wherever its stderr
// leads, and are those of no other worker. One that ends well has none.
func TestStderrTail(t *testing.T) {
	t.Parallel()
	const script = `read how; i=0; while [ $i -lt 8 ]; do i=$((i+1)); echo "$how line $i" >&2; done; ` +
		`printf "\\033[31mred\\n" >&2; printf "half" >&2; [ "$how" = well ] || { [ "$how" != killed ] || kill -9 $$; exit 1; }`
	for _, where := range []string{"inherit", "null", "log"} {
		for _, spares := range []string{"0", "2"} {
			t.Run(where+", spares "+spares, func(t *testing.T) {
				t.Parallel()
				m := configured(t, 1, single("stderr = \""+where+"\"", "spares = "+spares, fmt.Sprintf("program = [\"/bin/sh\", \"-c\", %q]", script)))
				if spares != "0" {
					m.Spares = 2
					m.WaitSpares(t, 2)
					m.Baseline(t)
					if where == "log" {
						m.StopSignal = syscall.SIGQUIT // the master has a pipe for each spare
					}
				}
				clients := map[string]*systest.Client{}
				for _, how := range []string{"well", "badly", "killed"} {
					clients[how] = m.Dial(t)
					clients[how].Accepted(t)
				}
				for how, c := range clients {
					c.Send(t, how+"\n")
				}
				for how, c := range clients {
					end, want := c.End(t), ""
					if how != "well" {
						want = strings.ReplaceAll("HOW line 6\nHOW line 7\nHOW line 8\n\x1b[31mred\nhalf", "HOW", how)
					}
					if end.StderrTail != want {
						t.Errorf("%s: %q, want %q", end.Line, end.StderrTail, want)
					}
				}
				raw := len(m.Events(func(e systest.Event) bool { return e.Msg == "" && strings.HasSuffix(e.Line, " line 3") }))
				logged := len(m.Events(func(e systest.Event) bool { return e.Msg == systest.Stderr && strings.HasSuffix(e.Written, " line 3") }))
				if want := map[string][2]int{"inherit": {3, 0}, "null": {0, 0}, "log": {0, 3}}[where]; want != [2]int{raw, logged} {
					t.Errorf("%d raw lines and %d events, want %v", raw, logged, want)
				}
			})
		}
	}
}

// A worker that reads from several clients in turn does not show one what another
// has made it say.
func TestStderrTailOfReuse(t *testing.T) {
	t.Parallel()
	m := configured(t, 1, single(fmt.Sprintf("program = [%q, %q]", systest.Program(t, "cmd/internal/systest/testworker"), "telling"),
		`handoff = "worker"`, "spares = 1", "connections-per-worker = 5"))
	m.Spares = 1
	m.WaitSpares(t, 1)
	m.Baseline(t)
	first := m.Dial(t)
	first.Send(t, "secret of the first\n")
	first.CloseWrite(t)
	first.ExpectEnd(t)
	if end := first.End(t); end.Msg != systest.Ended {
		t.Fatalf("%s", end.Line)
	}
	second := m.Dial(t)
	second.Send(t, "exit\n")
	if end := second.End(t); end.Code() != 3 || end.StderrTail != "exit" {
		t.Errorf("%s: %q", end.Line, end.StderrTail)
	}
}

// A terminal and other devices are the workers' own stderr, and a file has the
// lines as they are.
func TestStderrIsWhereItWas(t *testing.T) {
	t.Parallel()
	args := []string{"--control", "none", "--listen", "127.0.0.1:0", "--", "/bin/sh", "-c", "[ -t 2 ] && echo tty >&2; echo words >&2; readlink /proc/self/fd/2; exit 3"}
	m := systest.Options{Terminal: true, Args: args}.Start(t)
	c := m.Dial(t)
	if got := c.ExpectEnd(t); !strings.HasPrefix(got, "/dev/pts/") {
		t.Errorf("fd 2 is %q", got)
	}
	m.WaitFor(t, func(e systest.Event) bool { return e.Line == "words" })
	if tty := m.Events(func(e systest.Event) bool { return e.Line == "tty" }); len(tty) != 1 {
		t.Error("fd 2 is no terminal for the program")
	}
	if end := c.End(t); end.Code() != 3 || end.StderrTail != "" {
		t.Errorf("%s", end.Line)
	}

	file := filepath.Join(systest.Dir(t), "log")
	m = systest.Options{Wrap: sh(`exec "$@" 2>`+file, "sh"), Args: args, Quiet: true}.Start(t)
	m.StopSignal, m.LossyLog = syscall.SIGQUIT, true
	text := func() string { content, _ := os.ReadFile(file); return string(content) }
	systest.Until(t, "listening", func() bool { return strings.Contains(text(), `"listening"`) }, text)
	var address string
	for _, line := range strings.Split(text(), "\n") {
		var e systest.Event
		if json.Unmarshal([]byte(line), &e) == nil && e.Msg == systest.Listening {
			address = e.Local
		}
	}
	m.DialTo(t, "tcp", address).ExpectEnd(t)
	systest.Until(t, "the lines and the event", func() bool {
		return strings.Contains(text(), "\nwords\n") && strings.Contains(text(), `"stderr_tail":"words"`)
	}, text)
}
