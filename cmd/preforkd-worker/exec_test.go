package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/worker/sockettest"
)

// both runs a test with a worker that was spawned for its connection and with
// a spare. become starts the worker and has it take the connection.
func both(t *testing.T, test func(t *testing.T, become func(t *testing.T, args ...string) (*process, sockettest.Client))) {
	t.Run("spawned", func(t *testing.T) {
		test(t, func(t *testing.T, args ...string) (*process, sockettest.Client) {
			server, client := sockettest.TCP(t)
			return start(t, server, args, assignment(t)), client
		})
	})
	t.Run("spare", func(t *testing.T) {
		test(t, func(t *testing.T, args ...string) (*process, sockettest.Client) {
			server, client := sockettest.TCP(t)
			p := spare(t, args...)
			p.expect(t, ipc.TypeReady)
			p.give(t, ipc.Assignment{Connection: "c2", Environment: []string{"PATH=" + os.Getenv("PATH"), "GIVEN=yes"}}, server)
			p.expect(t, ipc.TypeTaken)
			return p, client
		})
	})
}

// look is a shell script that shows what a program was born with. What it
// prints goes to the client, whose descriptor is the format's only verb.
const look = `exec 1>&%d
echo "args $0 $*"
echo "given $GIVEN listen $LISTEN_FDS names $LISTEN_FDNAMES"
[ "$LISTEN_PID" = $$ ] && echo own pid
echo "nofile $(ulimit -Sn)"
for fd in /proc/$$/fd/*; do case $(readlink $fd) in *.sh|pipe*) ;; *) echo "fd ${fd##*/} $(readlink $fd | cut -d: -f1)";; esac; done
grep -E '^Sig(Ign|Blk)' /proc/self/status
`

// seen runs look and returns its lines.
func seen(t *testing.T, client sockettest.Client, p *process) map[string]bool {
	t.Helper()
	out, err := io.ReadAll(client)
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		lines[strings.TrimSpace(line)] = true
	}
	if code := p.wait(t, ""); code != 0 {
		t.Errorf("exit code %d", code)
	}
	return lines
}

// softNofile is a limit that the worker is started with. The runtime raises it
// for itself, up to the hard limit; the program must not see that.
const softNofile = 200

// limited is the command line of a shell that lowers the limit and becomes the
// worker.
func limited(t *testing.T, args ...string) []string {
	return append([]string{shell(t), "-c", fmt.Sprintf(`ulimit -Sn %d; exec "$0" "$@"`, softNofile), binary}, args...)
}

func shell(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBecomesStdio(t *testing.T) {
	both(t, func(t *testing.T, become func(*testing.T, ...string) (*process, sockettest.Client)) {
		p, client := become(t, ipc.ExecStdio, shell(t), "sh", "-c", fmt.Sprintf(look, 0), "a b", "c")
		lines := seen(t, client, p)
		for _, want := range []string{"args a b c", "fd 0 socket", "fd 1 socket", fmt.Sprint("nofile ", softNofile)} {
			if !lines[want] {
				t.Errorf("no line %q in %v", want, lines)
			}
		}
		for line := range lines {
			if strings.HasPrefix(line, "fd ") && !strings.Contains("012", line[3:4]) {
				t.Errorf("open: %s", line)
			}
		}
		checkSignals(t, lines)
	})
}

func TestBecomesSystemd(t *testing.T) {
	both(t, func(t *testing.T, become func(*testing.T, ...string) (*process, sockettest.Client)) {
		p, client := become(t, ipc.ExecSystemd, shell(t), "sh", "-c", fmt.Sprintf(look, 3))
		lines := seen(t, client, p)
		for _, want := range []string{"own pid", "fd 0 /dev/null", "fd 3 socket", fmt.Sprint("nofile ", softNofile)} {
			if !lines[want] {
				t.Errorf("no line %q in %v", want, lines)
			}
		}
		if !lines["given  listen 1 names connection"] && !lines["given yes listen 1 names connection"] {
			t.Errorf("environment: %v", lines)
		}
		for line := range lines {
			if strings.HasPrefix(line, "fd ") && !strings.Contains("0123", line[3:4]) {
				t.Errorf("open: %s", line)
			}
		}
		checkSignals(t, lines)
	})
}

// checkSignals expects the program to ignore and block what this process
// does, from which the worker has inherited it, and nothing else.
func checkSignals(t *testing.T, lines map[string]bool) {
	t.Helper()
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		t.Fatal(err)
	}
	for set := range strings.Lines(string(status)) {
		set = strings.TrimSuffix(set, "\n")
		if (strings.HasPrefix(set, "SigIgn:") || strings.HasPrefix(set, "SigBlk:")) && !lines[set] {
			t.Errorf("no line %q in %v", set, lines)
		}
	}
}

// The program blocks in read and write like any other, and its end is the
// connection's.
func TestBecomesCat(t *testing.T) {
	both(t, func(t *testing.T, become func(*testing.T, ...string) (*process, sockettest.Client)) {
		cat, err := exec.LookPath("cat")
		if err != nil {
			t.Fatal(err)
		}
		p, client := become(t, ipc.ExecStdio, cat, "cat")
		exchange(t, client, "meow")
		p.closed(t)
		client.CloseWrite()
		if rest, err := io.ReadAll(client); len(rest) > 0 || err != nil {
			t.Errorf("at the end: %q, %v", rest, err)
		}
		if code := p.wait(t, ""); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
}

func TestCannotBecome(t *testing.T) {
	for _, mode := range []string{ipc.ExecStdio, ipc.ExecSystemd} {
		both(t, func(t *testing.T, become func(*testing.T, ...string) (*process, sockettest.Client)) {
			p, client := become(t, mode, "/nonexistent/program", "program")
			if rest, err := io.ReadAll(client); len(rest) > 0 || err != nil {
				t.Errorf("the client got %q, %v", rest, err)
			}
			if code := p.wait(t, "exec /nonexistent/program: no such file or directory"); code != ipc.ExitExec {
				t.Errorf("exit code %s", ipc.ExitName(code))
			}
		})
		server, _ := sockettest.Unix(t)
		p := start(t, server, []string{mode, "/bin/sh"}, assignment(t))
		if code := p.wait(t, mode+" needs the path of a program and its argument vector"); code != ipc.ExitExec {
			t.Errorf("exit code %s", ipc.ExitName(code))
		}
	}
}

func TestSpareDismissedBeforeItBecomes(t *testing.T) {
	p := spare(t, ipc.ExecStdio, "/nonexistent/program", "program")
	p.expect(t, ipc.TypeReady)
	if err := ipc.Send(p.control, ipc.Drain); err != nil {
		t.Fatal(err)
	}
	if code := p.wait(t, ""); code != ipc.ExitOK {
		t.Errorf("exit code %s", ipc.ExitName(code))
	}
}
