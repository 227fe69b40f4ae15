package worker_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/ipc/needtest"
	"github.com/preforkd/preforkd/ipc/slowtest"
	"github.com/preforkd/preforkd/worker/sockettest"
)

func TestByHandOverPipes(t *testing.T) {
	w := command("echo")
	w.cmd.Env = append(w.cmd.Env, ipc.EnvStdin+"=1")
	w.cmd.Stdin = strings.NewReader("typed\n")
	out, err := w.cmd.Output()
	if string(out) != "typed\n" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
	if said := w.stderr.String(); said != "mine: eof, 6 bytes in, 6 bytes out\n" {
		t.Errorf("stderr %q", said)
	}
}

// A handler that ends first does not wait for whoever types.
func TestByHandHandlerEndsFirst(t *testing.T) {
	w := command("values")
	w.cmd.Env = append(w.cmd.Env, ipc.EnvStdin+"=1")
	in, err := w.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := w.cmd.Run(); err != nil {
		t.Error(err)
	}
	if said := w.stderr.String(); said != "mine: done, 0 bytes in, 0 bytes out, user=\"joe\", requests=\"2\"\n" {
		t.Errorf("stderr %q", said)
	}
}

func TestByHandFailure(t *testing.T) {
	w := command("panic")
	w.cmd.Env = append(w.cmd.Env, ipc.EnvStdin+"=1")
	w.cmd.Stdin = strings.NewReader("")
	out, _ := w.cmd.Output()
	if code := w.cmd.ProcessState.ExitCode(); code != ipc.ExitPanic || string(out) != "last words" {
		t.Errorf("exit code %s, %q", ipc.ExitName(code), out)
	}
}

// As inetd does it, and preforkd's own stdio handoff.
func TestSocketOnStandardInput(t *testing.T) {
	server, client := sockettest.TCP(t)
	w := command("print", "-v")
	conn := os.NewFile(uintptr(server), "connection")
	w.cmd.Stdin, w.cmd.Stdout = conn, conn
	w.cmd.Env = append(w.cmd.Env, "TCPREMOTEIP=::1", "TCPREMOTEPORT=42")
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if got, err := io.ReadAll(client); string(got) != "for the client" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	client.Close()
	if code := w.exit(); code != ipc.ExitOK || w.stderr.String() != "not for the client\n" {
		t.Errorf("exit code %s, stderr %q", ipc.ExitName(code), w.stderr.String())
	}
}

// Nothing but a socket is served without being told to, and nothing at all by
// a worker that has a master.
func TestNotByAccident(t *testing.T) {
	w := command("echo")
	w.cmd.Stdin = strings.NewReader("x")
	if out, _ := w.cmd.Output(); len(out) > 0 {
		t.Errorf("%q", out)
	}
	if code := w.cmd.ProcessState.ExitCode(); code != ipc.ExitDescriptors || !strings.Contains(w.stderr.String(), "PREFORKD_STDIN=1") {
		t.Errorf("exit code %s, stderr %q", ipc.ExitName(code), w.stderr.String())
	}

	master, end, err := ipc.NewChannel()
	if err != nil {
		t.Fatal(err)
	}
	defer os.NewFile(uintptr(master), "master").Close()
	server, _ := sockettest.Unix(t)
	stdin, file := os.NewFile(uintptr(server), "socket"), os.NewFile(uintptr(end), "control")
	w = command("echo")
	w.cmd.Stdin = stdin
	w.cmd.Env = append(w.cmd.Env, ipc.EnvStdin+"=1")
	zero, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	w.cmd.ExtraFiles = []*os.File{zero, file}
	w.cmd.Run()
	for _, f := range []*os.File{stdin, file, zero} {
		f.Close()
	}
	if code := w.cmd.ProcessState.ExitCode(); code != ipc.ExitDescriptors {
		t.Errorf("exit code %s", ipc.ExitName(code))
	}
}

// dial connects to a server that may not listen yet, sends, and returns as many
// bytes of what comes back.
func dial(t *testing.T, addr, send string) string {
	t.Helper()
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			if time.Since(start) > slowtest.Scale(time.Minute) {
				t.Fatal(err)
			}
			continue
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(slowtest.Scale(time.Minute)))
		fmt.Fprint(conn, send)
		// Both of these servers take the client's end for everybody's, so it
		// must not come before the answer.
		got := make([]byte, len(send))
		if n, err := io.ReadFull(conn, got); err != nil {
			t.Fatalf("%q, %v", got[:n], err)
		}
		return string(got)
	}
}

// freeAddr is an address that was free a moment ago.
func freeAddr(t *testing.T) (addr, port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return l.Addr().String(), port
}

// serveWith runs a server that starts this test's handlers.
func serveWith(t *testing.T, handler string, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(needtest.Program(t, name), args...)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), asHandler+"="+handler, "SELF="+self, "GORACE=atexit_sleep_ms=0")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
}

func TestUnderSocat(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, exec := range []string{"EXEC:" + self, "EXEC:" + self + ",nofork"} {
		addr, port := freeAddr(t)
		serveWith(t, "echo", "socat", "TCP-LISTEN:"+port+",bind=127.0.0.1,reuseaddr,fork", exec)
		for range 2 {
			if got := dial(t, addr, "hello"); got != "hello" {
				t.Errorf("%s: %q", exec, got)
			}
		}
	}
}

func TestUnderNetcat(t *testing.T) {
	needtest.Program(t, "nc")
	addr, port := freeAddr(t)
	fifo := t.TempDir() + "/fifo"
	serveWith(t, "echo", "sh", "-c", "mkfifo "+fifo+"; nc -l -N 127.0.0.1 "+port+" < "+fifo+" | PREFORKD_STDIN=1 $SELF > "+fifo)
	if got := dial(t, addr, "hello"); got != "hello" {
		t.Errorf("%q", got)
	}
}
