package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/worker/sockettest"
)

// spawnedAndSpare runs a test with a worker that was started for its connection, and
// again with a spare. startWorker starts the worker and waits until it has the
// connection.
func spawnedAndSpare(t *testing.T, test func(t *testing.T, startWorker func(t *testing.T, args ...string) (*process, sockettest.Client))) {
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
			p.sendConnection(t, ipc.Assignment{Connection: "c2", Environment: []string{"PATH=" + os.Getenv("PATH"), "GIVEN=yes"}}, server)
			p.expect(t, ipc.TypeAck)
			return p, client
		})
	})
}

// descriptorScript is a shell script that prints a program's arguments, environment and
// descriptors. The output goes to the client. The format's only verb is the descriptor
// of the client.
const descriptorScript = `exec 1>&%d
echo "args $0 $*"
echo "given $GIVEN listen $LISTEN_FDS names $LISTEN_FDNAMES"
[ "$LISTEN_PID" = $$ ] && echo own pid
echo "nofile $(ulimit -Sn)"
for fd in /proc/$$/fd/*; do case $(readlink $fd) in *.sh|pipe*) ;; *) echo "fd ${fd##*/} $(readlink $fd | cut -d: -f1)";; esac; done
grep -E '^Sig(Ign|Blk)' /proc/self/status
`

// scriptLines reads the lines that descriptorScript has printed, until the program
// ends.
func scriptLines(t *testing.T, client sockettest.Client, p *process) map[string]bool {
	t.Helper()
	out, err := io.ReadAll(client)
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		lines[strings.TrimSpace(line)] = true
	}
	if code := p.expectExit(t, ""); code != 0 {
		t.Errorf("exit code %d", code)
	}
	return lines
}

// softNofile is the soft limit of open files that the worker starts with. The runtime
// raises it to the hard limit for itself. The program must have the original limit.
const softNofile = 200

// withFileLimit returns the command line of a shell that lowers the limit and executes
// the worker.
func withFileLimit(t *testing.T, args ...string) []string {
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

func TestExecStdio(t *testing.T) {
	spawnedAndSpare(t, func(t *testing.T, startWorker func(*testing.T, ...string) (*process, sockettest.Client)) {
		p, client := startWorker(t, ipc.ExecStdio, shell(t), "sh", "-c", fmt.Sprintf(descriptorScript, 0), "a b", "c")
		lines := scriptLines(t, client, p)
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

func TestExecSystemd(t *testing.T) {
	spawnedAndSpare(t, func(t *testing.T, startWorker func(*testing.T, ...string) (*process, sockettest.Client)) {
		p, client := startWorker(t, ipc.ExecSystemd, shell(t), "sh", "-c", fmt.Sprintf(descriptorScript, 3))
		lines := scriptLines(t, client, p)
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

// checkSignals checks that the program ignores and blocks the same signals as this test
// process. The worker has inherited these sets from the test.
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

// The program blocks in read and write like any other program. The connection ends when
// the program ends.
func TestExecCat(t *testing.T) {
	spawnedAndSpare(t, func(t *testing.T, startWorker func(*testing.T, ...string) (*process, sockettest.Client)) {
		cat, err := exec.LookPath("cat")
		if err != nil {
			t.Fatal(err)
		}
		p, client := startWorker(t, ipc.ExecStdio, cat, "cat")
		exchange(t, client, "meow")
		p.expectEOF(t)
		client.CloseWrite()
		if rest, err := io.ReadAll(client); len(rest) > 0 || err != nil {
			t.Errorf("at the end: %q, %v", rest, err)
		}
		if code := p.expectExit(t, ""); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
}

func TestExecFails(t *testing.T) {
	for _, mode := range []string{ipc.ExecStdio, ipc.ExecSystemd} {
		spawnedAndSpare(t, func(t *testing.T, startWorker func(*testing.T, ...string) (*process, sockettest.Client)) {
			p, client := startWorker(t, mode, "/nonexistent/program", "program")
			if rest, err := io.ReadAll(client); len(rest) > 0 || err != nil {
				t.Errorf("the client got %q, %v", rest, err)
			}
			failure, err := ipc.DecodeFailure(p.expect(t, ipc.TypeFailed))
			if want := (ipc.Failure{Step: ipc.FailedExec, Errno: unix.ENOENT}); failure != want || err != nil {
				t.Errorf("%+v, %v", failure, err)
			}
			if code := p.expectExit(t, ""); code != ipc.ExitExec {
				t.Errorf("exit code %s", ipc.ExitName(code))
			}
		})
		server, _ := sockettest.Unix(t)
		p := start(t, server, []string{mode, "/bin/sh"}, assignment(t))
		if code := p.expectExit(t, mode+" needs the path of a program and its argument vector"); code != ipc.ExitExec {
			t.Errorf("exit code %s", ipc.ExitName(code))
		}
	}
}

// A master that is gone has no log, so the reason goes to stderr.
func TestExecFailsWithoutMaster(t *testing.T) {
	server, _ := sockettest.Unix(t)
	master, control, err := ipc.NewChannel()
	if err != nil {
		t.Fatal(err)
	}
	if err := ipc.Send(master, assignment(t)); err != nil {
		t.Fatal(err)
	}
	unix.Close(master)
	p := launch(t, []string{ipc.ExecStdio, "/nonexistent/program", "program"}, os.NewFile(uintptr(server), ""), os.NewFile(uintptr(control), ""))
	if code := p.expectExit(t, "exec /nonexistent/program: no such file or directory"); code != ipc.ExitExec {
		t.Errorf("exit code %s", ipc.ExitName(code))
	}
}

func TestSpareDismissedBeforeExec(t *testing.T) {
	p := spare(t, ipc.ExecStdio, "/nonexistent/program", "program")
	p.expect(t, ipc.TypeReady)
	if err := ipc.Send(p.control, ipc.Drain); err != nil {
		t.Fatal(err)
	}
	if code := p.expectExit(t, ""); code != ipc.ExitOK {
		t.Errorf("exit code %s", ipc.ExitName(code))
	}
}
