package terminal_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// environ is the environment of the programs under test. Instrumented programs need the
// first two variables. Without them they would print warnings or end a second later.
func environ(t testing.TB, more ...string) []string {
	dir := os.Getenv("PREFORKD_COVERDIR")
	if dir == "" {
		dir = t.TempDir()
	}
	return append([]string{
		"GOCOVERDIR=" + dir, "GORACE=atexit_sleep_ms=0",
		"PATH=" + os.Getenv("PATH"), "TERM=xterm",
	}, more...)
}

// A capture collects the output of a program.
type capture struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (c *capture) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.data.Write(p)
}

func (c *capture) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.data.String()
}

// waitFor waits until the program has written text.
func (c *capture) waitFor(t testing.TB, text string) {
	t.Helper()
	systest.Until(t, "written: "+text, func() bool { return strings.Contains(c.String(), text) }, c.String)
}

// A program is preforkd with pipes for stdin, stdout and stderr.
type program struct {
	*exec.Cmd
	stdin          io.WriteCloser
	stdout, stderr capture
	ended          chan struct{}
}

// start starts preforkd. A file given as stdin replaces the pipe.
func start(t testing.TB, stdin *os.File, args ...string) *program {
	t.Helper()
	p := &program{Cmd: exec.Command(systest.Preforkd(t), args...)}
	p.Stdout, p.Stderr = &p.stdout, &p.stderr
	p.run(t, stdin)
	return p
}

// run starts the command of a program whose outputs are already set.
func (p *program) run(t testing.TB, stdin *os.File) {
	t.Helper()
	p.Env = environ(t)
	p.ended = make(chan struct{})
	p.WaitDelay = systest.Deadline() // a sender that lives on has its outputs, too
	if stdin != nil {
		p.Stdin = stdin
	} else {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		t.Cleanup(func() { w.Close() })
		p.Stdin, p.stdin = r, w
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.Process.Kill()
		<-p.ended
	})
}

// send writes to the program's stdin.
func (p *program) send(t testing.TB, text string) {
	t.Helper()
	if _, err := io.WriteString(p.stdin, text); err != nil {
		t.Fatal(err)
	}
}

// sender waits for the second process and returns its pid.
func (p *program) sender(t testing.TB) int { return senderOf(t, p.Process.Pid) }

// senderOf waits until a receiver has its second process, and that one is ready
// to be signalled, and returns its pid.
func senderOf(t testing.TB, receiver int) int {
	t.Helper()
	pid := 0
	systest.Until(t, "a second process", func() bool {
		children := systest.Children(receiver)
		if len(children) != 1 {
			return false
		}
		pid = children[0].PID
		// Of a Go program's handlers all are there or none, so this one,
		// which is put aside later, says how far it has come.
		return systest.ReadStatus(pid).Ignored&(1<<(syscall.SIGQUIT-1)) != 0
	}, nil)
	return pid
}

// released waits until the sender knows that the peer has ended its side. The
// sender notes that in an eventfd whose count stays at 1.
func (p *program) released(t testing.TB) {
	t.Helper()
	sender := p.sender(t)
	systest.Until(t, "a sender that knows of the peer's end", func() bool {
		for _, fd := range systest.FDs(sender) {
			if fd.Target != "anon_inode:[eventfd]" {
				continue
			}
			info, _ := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", sender, fd.Number))
			if fields := strings.Fields(string(info)); slices.Contains(fields, "eventfd-count:") &&
				fields[slices.Index(fields, "eventfd-count:")+1] == "1" {
				return true
			}
		}
		return false
	}, nil)
}

// wantExit waits for the end of the program and checks its exit code and its line on
// stderr.
func (p *program) wantExit(t testing.TB, code int, says ...string) {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(systest.Deadline()):
		t.Fatalf("preforkd has not ended after %v: %q, %q", systest.Deadline(), p.stdout.String(), p.stderr.String())
	}
	if got := p.ProcessState.ExitCode(); got != code {
		t.Errorf("the exit code is %d, want %d", got, code)
	}
	stderr := p.stderr.String()
	for _, text := range says {
		if !strings.Contains(stderr, text) {
			t.Errorf("stderr is %q, want it to say %q", stderr, text)
		}
	}
	if len(says) == 0 && stderr != "" {
		t.Errorf("stderr is %q, want none", stderr)
	}
}

// wantSignal waits for the end of the program by a signal.
func (p *program) wantSignal(t testing.TB, s syscall.Signal) {
	t.Helper()
	p.wantExit(t, -1)
	if got := p.ProcessState.Sys().(syscall.WaitStatus).Signal(); got != s {
		t.Errorf("the program ended by %v, want %v", got, s)
	}
}

// wantGone waits until a process has ended.
func wantGone(t testing.TB, what string, pid int) {
	t.Helper()
	systest.Until(t, "the end of "+what, func() bool { _, exists := systest.Stat(pid); return !exists }, nil)
}

// serve accepts one connection on a loopback address. A function handles it in a
// goroutine of its own. The test ends after the function.
func serve(t testing.TB, handle func(conn *net.TCPConn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
	go func() {
		defer close(done)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(systest.Deadline()))
		handle(conn.(*net.TCPConn))
	}()
	return listener.Addr().String()
}

// readAll returns what a server receives until the client ends its direction.
func readAll(conn net.Conn) string {
	data, err := io.ReadAll(conn)
	if err != nil {
		return string(data) + " and then " + err.Error()
	}
	return string(data)
}

// fileOf makes a file with this content, open for reading.
func fileOf(t testing.TB, content string) *os.File {
	t.Helper()
	path := t.TempDir() + "/input"
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// echo starts preforkd's own echo service and returns its address.
func echo(t testing.TB) string {
	t.Helper()
	return systest.Start(t).Listeners[0].Address
}
