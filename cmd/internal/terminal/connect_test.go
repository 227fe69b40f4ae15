package terminal_test

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// The quit word and the end of a pipe end only the sending direction. The server sees
// end of file, and its later text is still printed.
func TestConnectHalfClose(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, input, sent string
		keepOpen          bool // the pipe stays open
		args              []string
	}{
		{"q", "hello\nq\nlost\n", "hello\n", true, nil},
		{"Q", "hello\nQ\n", "hello\n", true, nil},
		{"q first", "q\n", "", true, nil},
		{"end", "hello\nquit\n", "hello\nquit\n", false, nil},
		{"end without newline", "hello", "hello", false, nil},
		{"end after q", "hello\nq", "hello\nq", false, nil},
		{"nothing", "", "", false, nil},
		{"no quit word", "hello\nq\nQ\n", "hello\nq\nQ\n", false, []string{"--no-quit-word"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := make(chan string, 1)
			address := serve(t, func(conn *net.TCPConn) {
				io.WriteString(conn, "welcome\n")
				got <- readAll(conn)
				io.WriteString(conn, "goodbye\n")
			})
			p := start(t, nil, append([]string{"connect", address}, c.args...)...)
			p.send(t, c.input)
			if !c.keepOpen {
				p.stdin.Close()
			}
			p.wantExit(t, 0)
			if sent := <-got; sent != c.sent {
				t.Errorf("the server got %q, want %q", sent, c.sent)
			}
			if out := p.stdout.String(); out != "welcome\ngoodbye\n" {
				t.Errorf("stdout is %q", out)
			}
		})
	}
}

// The quit word may arrive in two reads.
func TestConnectSplitQuitWord(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	p := start(t, nil, "connect", serve(t, func(conn *net.TCPConn) { got <- readAll(conn) }))
	for _, piece := range []string{"hello\n", "q", "\n"} {
		p.send(t, piece)
		systest.Until(t, "read: "+piece, func() bool {
			n, err := unix.IoctlGetInt(int(p.stdin.(*os.File).Fd()), unix.TIOCINQ)
			return err == nil && n == 0
		}, nil)
	}
	p.wantExit(t, 0)
	if sent := <-got; sent != "hello\n" {
		t.Errorf("the server got %q", sent)
	}
}

// A file on stdin is data: a line q in it ends nothing, unless a flag asks for that.
func TestConnectFile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "a\nq\nb\x00\xff\r\n\x1b[31m"},
		{[]string{"--no-quit-word"}, "a\nq\nb\x00\xff\r\n\x1b[31m"},
		{[]string{"--no-quit-word=false"}, "a\n"},
	} {
		p := start(t, fileOf(t, "a\nq\nb\x00\xff\r\n\x1b[31m"), append([]string{"connect", echo(t)}, c.args...)...)
		p.wantExit(t, 0)
		if out := p.stdout.String(); out != c.want {
			t.Errorf("%v: %q came back, want %q", c.args, out, c.want)
		}
	}
}

// The program that writes the input notices that it is no longer read.
func TestConnectQuitEndsProducer(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	defer close(hold)
	p := start(t, nil, "connect", serve(t, func(conn *net.TCPConn) { <-hold }))
	p.send(t, "q\n")
	systest.Until(t, "a broken pipe", func() bool {
		_, err := io.WriteString(p.stdin, "x")
		return err != nil
	}, nil)
}

// Two processes share the connection. Each has only the descriptors that it needs. The
// second one is reaped when its input has ended.
func TestConnectTwoProcesses(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	p := start(t, nil, "connect", serve(t, func(conn *net.TCPConn) {
		io.Copy(io.Discard, conn)
		<-hold
	}))
	sender := p.sender(t)
	if a, b := systest.Executable(p.Process.Pid), systest.Executable(sender); a != b {
		t.Errorf("the second process runs %s, the first %s", b, a)
	}
	shared := 0
	for _, pid := range []int{p.Process.Pid, sender} {
		sockets := 0
		for _, fd := range systest.FDs(pid) {
			if strings.HasPrefix(fd.Target, "socket:") {
				sockets++
				if sharedBy(fd.Target, p.Process.Pid) && sharedBy(fd.Target, sender) {
					shared++
				}
			}
		}
		if sockets != 2 { // the connection and one end of the status pipe
			t.Errorf("process %d holds %d sockets: %v", pid, sockets, systest.FDs(pid))
		}
	}
	if shared != 2 {
		t.Error("the processes do not share exactly one socket")
	}
	if systest.ReadStatus(sender).Caught&(1<<(syscall.SIGUSR1-1)) == 0 {
		t.Error("the sender does not catch SIGUSR1")
	}
	p.stdin.Close()
	wantGone(t, "the sender", sender)
	if !systest.Alive(p.Process.Pid) {
		t.Error("the receiver did not go on")
	}
	if pipe, _ := os.Readlink("/proc/" + itoa(p.Process.Pid) + "/fd/0"); pipe != "/dev/null" {
		t.Errorf("the receiver holds %s, whose other end would wait for a reader for ever", pipe)
	}
	close(hold)
	p.wantExit(t, 0)
}

func sharedBy(target string, pid int) bool {
	for _, fd := range systest.FDs(pid) {
		if fd.Target == target {
			return true
		}
	}
	return false
}

// When the server closes and the input has ended, the client ends.
//
// It does so at any time, also while the sender is still starting, when a
// signal would kill it or be lost. Hence the repetition.
func TestConnectServerCloses(t *testing.T) {
	t.Parallel()
	for range 20 {
		p := start(t, nil, "connect", serve(t, func(conn *net.TCPConn) { io.WriteString(conn, "bye\n") }))
		p.stdin.Close()
		p.wantExit(t, 0)
		if out := p.stdout.String(); out != "bye\n" {
			t.Errorf("stdout is %q", out)
		}
	}
}

// A server that half-closes early still gets all of the input, whether it is a
// file or a pipe that pauses.
func TestConnectServerHalfCloses(t *testing.T) {
	t.Parallel()
	for _, pipe := range []bool{false, true} {
		got := make(chan string, 1)
		reading := make(chan struct{})
		address := serve(t, func(conn *net.TCPConn) {
			conn.CloseWrite()
			<-reading
			got <- readAll(conn)
		})
		// More than the buffers between the two hold, so that the sender still
		// has input when the server has ended its side.
		data := strings.Repeat("0123456789abcdef", 1<<16)
		var p *program
		if pipe {
			p = start(t, nil, "connect", address)
			p.send(t, "one\n")
			p.released(t)
			// Longer than any pause that a sender could take for the end.
			time.Sleep(time.Second)
			close(reading)
			p.send(t, data)
			p.stdin.Close()
			data = "one\n" + data
		} else {
			p = start(t, fileOf(t, data), "connect", address)
			close(reading)
		}
		p.wantExit(t, 0)
		if sent := <-got; sent != data {
			t.Errorf("pipe %v: of %d bytes the server got %d", pipe, len(data), len(sent))
		}
	}
}

// A server that has closed altogether cannot be told from one that has
// half-closed until more is sent. What it does not take is not lost without a
// word, be it the last of the input or not.
func TestConnectServerClosedBefore(t *testing.T) {
	t.Parallel()
	for name, more := range map[string]bool{"the input ends": false, "the input goes on": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, nil, "connect", serve(t, func(conn *net.TCPConn) { io.WriteString(conn, "bye\n") }))
			p.released(t)
			p.send(t, "two\n")
			if !more {
				p.stdin.Close()
			}
			p.wantExit(t, 1, "preforkd: connection closed by the peer before all input was sent\n")
			if out := p.stdout.String(); out != "bye\n" {
				t.Errorf("stdout is %q", out)
			}
		})
	}
}

// Of a unix socket the kernel tells when the server has closed altogether.
func TestConnectServerClosesUnix(t *testing.T) {
	t.Parallel()
	path := filepath.Join(systest.Dir(t), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		if conn, err := listener.Accept(); err == nil {
			io.WriteString(conn, "bye\n")
			conn.Close()
		}
	}()
	p := start(t, nil, "connect", "unix:"+path)
	p.wantExit(t, 1, "preforkd: connection closed by the peer before all input was sent\n")
	if out := p.stdout.String(); out != "bye\n" {
		t.Errorf("stdout is %q", out)
	}
}

// Whoever does not want to wait for the end of the input says for how long.
func TestConnectHalfClosedTimeout(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	p := start(t, nil, "connect", "--half-closed-timeout", "100ms", serve(t, func(conn *net.TCPConn) {
		conn.CloseWrite()
		got <- readAll(conn)
	}))
	p.send(t, "one\n")
	p.wantExit(t, 1, "preforkd: input not sent to its end: the peer had ended its side, and no input came for 100ms\n")
	if t.Failed() {
		return
	}
	if sent := <-got; sent != "one\n" {
		t.Errorf("the server got %q", sent)
	}
}

func TestConnectReset(t *testing.T) {
	t.Parallel()
	ready := make(chan struct{})
	p := start(t, nil, "connect", serve(t, func(conn *net.TCPConn) {
		<-ready
		conn.SetLinger(0)
	}))
	sender := p.sender(t)
	close(ready)
	p.wantExit(t, 1, "preforkd: connection reset by the peer\n")
	wantGone(t, "the sender", sender)
}

// Input that the server did not take is reported.
func TestConnectUnsentInput(t *testing.T) {
	t.Parallel()
	zero, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer zero.Close()
	p := start(t, zero, "connect", "--no-quit-word", serve(t, func(conn *net.TCPConn) {
		io.ReadFull(conn, make([]byte, 1<<16))
	}))
	p.wantExit(t, 1, "preforkd: connection ")
}

// A closed stdout ends both processes, as it ends any filter.
func TestConnectClosedOutput(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	p := &program{Cmd: exec.Command(systest.Preforkd(t), "connect", serve(t, func(conn *net.TCPConn) {
		<-closed
		io.Copy(conn, zeros{})
	}))}
	p.Stdout, p.Stderr = w, &p.stderr
	p.run(t, nil)
	w.Close()
	sender := p.sender(t)
	r.Close()
	close(closed)
	p.wantSignal(t, syscall.SIGPIPE)
	wantGone(t, "the sender", sender)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestConnectFullOutput(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		systest.Skip(t, "needs /dev/full")
	}
	defer full.Close()
	p := &program{Cmd: exec.Command(systest.Preforkd(t), "connect", serve(t, func(conn *net.TCPConn) {
		io.WriteString(conn, "hello\n")
		readAll(conn)
	}))}
	p.Stdout, p.Stderr = full, &p.stderr
	p.run(t, nil)
	p.wantExit(t, 1, "preforkd: write output: no space left on device\n")
}

// A stdin that cannot be read ends the sending direction and is reported.
func TestConnectUnreadableInput(t *testing.T) {
	t.Parallel()
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	p := start(t, dir, "connect", echo(t))
	p.wantExit(t, 1, "preforkd: read input: is a directory\n")
}

// Neither process outlives the other one, or Ctrl-C.
func TestConnectKilled(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		sender bool
		by     syscall.Signal
		says   string
	}{
		{"sender KILL", true, syscall.SIGKILL, "preforkd: the sending process was killed by SIGKILL\n"},
		{"receiver KILL", false, syscall.SIGKILL, ""},
		{"receiver INT", false, syscall.SIGINT, ""},
		{"receiver TERM", false, syscall.SIGTERM, ""},
		{"sender INT", true, syscall.SIGINT, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := make(chan string, 1)
			p := start(t, nil, "connect", serve(t, func(conn *net.TCPConn) { got <- readAll(conn) }))
			sender := p.sender(t)
			victim := p.Process.Pid
			if c.sender {
				victim = sender
			}
			if err := syscall.Kill(victim, c.by); err != nil {
				t.Fatal(err)
			}
			if c.says != "" {
				p.wantExit(t, 1, c.says)
			} else {
				p.wantSignal(t, c.by)
			}
			wantGone(t, "the sender", sender)
			<-got // the server sees the end too
		})
	}
}

// A stopped sender does not keep the client from ending.
func TestConnectStoppedSender(t *testing.T) {
	t.Parallel()
	ready := make(chan struct{})
	p := start(t, nil, "connect", serve(t, func(conn *net.TCPConn) { <-ready }))
	endsWithStopped(t, p, p.sender(t), ready)
}

// endsWithStopped stops a sender, ends both directions, and waits for the end of the
// client and of the sender. peer is closed to let the server end its side.
func endsWithStopped(t *testing.T, p *program, sender int, peer chan<- struct{}) {
	t.Helper()
	syscall.Kill(sender, syscall.SIGSTOP)
	systest.Until(t, "stopped", func() bool { s, _ := systest.Stat(sender); return s.State == 'T' }, nil)
	p.stdin.Close()
	close(peer)
	p.wantExit(t, 0)
	wantGone(t, "the sender", sender)
}

// Nor does one that was stopped before it was ready.
func TestConnectSenderStoppedEarly(t *testing.T) {
	t.Parallel()
	ready := make(chan struct{})
	p := start(t, nil, "connect", serve(t, func(conn *net.TCPConn) { <-ready }))
	sender := 0
	systest.Until(t, "a second process", func() bool {
		for _, child := range systest.Children(p.Process.Pid) {
			sender = child.PID
		}
		// Before its exec the receiver itself would wait for it.
		line, _ := os.ReadFile("/proc/" + strconv.Itoa(sender) + "/cmdline")
		return strings.Contains(string(line), "\x00sender\x00")
	}, nil)
	endsWithStopped(t, p, sender, ready)
}

// Ctrl-C works while the output is blocked.
func TestConnectSignalWhileBlocked(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p := &program{Cmd: exec.Command(systest.Preforkd(t), "connect", serve(t, func(conn *net.TCPConn) { io.Copy(conn, zeros{}) }))}
	p.Stdout, p.Stderr = w, &p.stderr
	p.run(t, nil)
	w.Close()
	sender := p.sender(t)
	size, _ := unix.FcntlInt(r.Fd(), unix.F_GETPIPE_SZ, 0)
	systest.Until(t, "a full pipe", func() bool {
		n, _ := unix.IoctlGetInt(int(r.Fd()), unix.TIOCINQ)
		return n == size
	}, nil)
	syscall.Kill(p.Process.Pid, syscall.SIGINT)
	p.wantSignal(t, syscall.SIGINT)
	wantGone(t, "the sender", sender)
}

// A signal that nohup ignores stays ignored.
func TestConnectIgnoredSignal(t *testing.T) {
	t.Parallel()
	ready := make(chan struct{})
	line := `trap "" HUP; exec "$0" "$@"`
	p := &program{Cmd: exec.Command("/bin/sh", "-c", line, systest.Preforkd(t), "connect", serve(t, func(conn *net.TCPConn) { <-ready }))}
	p.Stdout, p.Stderr = &p.stdout, &p.stderr
	p.run(t, nil)
	p.sender(t)
	if systest.ReadStatus(p.Process.Pid).Ignored&(1<<(syscall.SIGHUP-1)) == 0 {
		t.Error("SIGHUP was ignored and no longer is")
	}
	p.stdin.Close()
	close(ready)
	p.wantExit(t, 0)
}
