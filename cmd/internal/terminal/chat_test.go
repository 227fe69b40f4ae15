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

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// talk opens both windows of a chat. The arguments are for both sides.
func talk(t *testing.T, args ...string) (listening, connecting *window) {
	t.Helper()
	a, b := args, args
	for i, arg := range args { // "--" separates the two sides
		if arg == "--" {
			a, b = args[:i], args[i+1:]
		}
	}
	env := func(side []string) (env, rest []string) {
		for len(side) > 0 && strings.Contains(side[0], "=") {
			env, side = append(env, side[0]), side[1:]
		}
		return env, side
	}
	envA, a := env(a)
	envB, b := env(b)
	listening = open(t, append(append(envA, "chat", "--listen", "127.0.0.1:0"), a...)...)
	connecting = open(t, append(append(envB, "chat", listening.address(t)), b...)...)
	for _, w := range []*window{listening, connecting} {
		w.sender(t)
	}
	return listening, connecting
}

// address waits until a chat prints the address at which it listens.
func (w *window) address(t *testing.T) string {
	t.Helper()
	w.waitShown(t, ", for one peer")
	_, after, _ := strings.Cut(w.Output(), "listening on ")
	address, _, _ := strings.Cut(after, ",")
	return address
}

func TestChat(t *testing.T) {
	t.Parallel()
	a, b := talk(t)
	address := a.address(t)
	// The chat takes one peer only. The kernel refuses the next one.
	if conn, err := net.Dial("tcp", address); err == nil {
		conn.Close()
		t.Error("a second peer got in")
	} else if !strings.Contains(err.Error(), "connection refused") {
		t.Error(err)
	}
	// The notice names the peer by the address that the other side has.
	a.waitShown(t, "connection from 127.0.0.1:")
	b.waitShown(t, "connected to "+address)

	a.editing(t)
	b.editing(t)
	a.Type(t, "hello\r")
	b.waitRows(t, "peer> hello", "you>")
	a.waitRows(t, "you> hello", "you>")

	// An incoming line does not break the line being typed.
	a.Type(t, "I am still ty")
	a.waitRows(t, "you> I am still ty")
	b.Type(t, "a question\r")
	a.waitRows(t, "you> hello", "peer> a question", "you> I am still ty")
	a.Type(t, "ping\r")
	a.waitRows(t, "peer> a question", "you> I am still typing", "you>")
	b.waitRows(t, "peer> hello", "you> a question", "peer> I am still typing", "you>")

	// This also holds for an input line of several rows.
	long := strings.Repeat("typing ", 30)
	b.Type(t, long)
	b.waitShown(t, "typing typing")
	a.Type(t, "second line\r")
	b.waitShown(t, "second line")
	b.waitRows(t, "peer> second line",
		("you> " + long)[:80], ("you> " + long)[80:160], strings.TrimRight(("you> " + long)[160:], " "))
	b.Type(t, "\x15bye\r")
	a.waitRows(t, "peer> bye", "you>")
	b.Type(t, "\x04")
	b.wantExit(t, "0")
	a.wantExit(t, "0")
	a.waitShown(t, "the peer closed the connection")
}

// Either side may end the chat. The side that has ended its input still receives. The
// other side ends at once, although it waits for the keyboard.
func TestChatEnd(t *testing.T) {
	t.Parallel()
	for _, listener := range []bool{true, false} {
		a, b := talk(t)
		if !listener {
			a, b = b, a
		}
		senders := []int{senderOf(t, a.receiver), senderOf(t, b.receiver)}
		b.editing(t)
		b.Type(t, "half a li")
		b.waitRows(t, "you> half a li")
		a.Type(t, "\x04")
		a.wantExit(t, "0")
		b.wantExit(t, "0")
		b.waitShown(t, "not sent: half a li")
		for _, pid := range senders {
			wantGone(t, "a sender", pid)
		}
	}
}

// After its own input has ended, a side receives until the peer ends.
func TestChatHalfClose(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	w := open(t, "chat", serve(t, func(conn *net.TCPConn) {
		got := readAll(conn)
		close(ended)
		io.WriteString(conn, "you said "+got)
	}))
	w.editing(t)
	w.Type(t, "all I say\r\x04")
	<-ended
	w.waitRows(t, "you> all I say", "peer> you said all I say", "the peer closed the connection", "[exit 0]")
	w.wantExit(t, "0")
}

// When any of the four processes is killed, its other process ends too. The other side
// ends, and both terminals are restored.
func TestChatKilled(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name             string
		listener, sender bool
		exit             string
	}{
		{"listening receiver", true, false, "137"},
		{"listening sender", true, true, "1"},
		{"connecting receiver", false, false, "137"},
		{"connecting sender", false, true, "1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a, b := talk(t)
			if !c.listener {
				a, b = b, a
			}
			a.editing(t)
			b.editing(t)
			sender := senderOf(t, a.receiver)
			other := senderOf(t, b.receiver)
			victim := a.receiver
			if c.sender {
				victim = sender
			}
			if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			wantGone(t, "the sender", sender)
			wantGone(t, "the receiver", a.receiver)
			wantGone(t, "the other sender", other)
			a.wantExit(t, c.exit)
			b.wantExit(t, "0")
			if c.sender {
				a.waitShown(t, "preforkd: the sending process was killed by SIGKILL")
			}
		})
	}
}

// The receiver ends the sender with SIGUSR1.
func TestChatSIGUSR1(t *testing.T) {
	t.Parallel()
	strace := systest.Need(t, "strace")
	end := make(chan struct{})
	address := serve(t, func(conn *net.TCPConn) { <-end })
	record := filepath.Join(systest.Dir(t), "strace")
	p := &program{Cmd: exec.Command(strace, "-f", "-q", "-o", record, "-e", "trace=exit_group", "-e", "signal=SIGUSR1",
		systest.Preforkd(t), "chat", address)}
	p.Stdout, p.Stderr = &p.stdout, &p.stderr
	near := newWindow(t)
	p.run(t, near.Terminal())
	var receiver int
	systest.Until(t, "the receiver", func() bool {
		for _, c := range systest.Children(p.Process.Pid) {
			receiver = c.PID
		}
		return receiver != 0 && systest.Executable(receiver) == systest.Preforkd(t)
	}, p.stderr.String)
	sender := senderOf(t, receiver)
	close(end)
	p.wantExit(t, 0, "the peer closed the connection")
	trace, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	from := "si_pid=" + itoa(receiver)
	seen := false
	for line := range strings.Lines(string(trace)) {
		seen = seen || strings.Contains(line, "SIGUSR1 {") && strings.Contains(line, from)
	}
	if !seen {
		t.Errorf("the sender %d got no SIGUSR1 from the receiver %d:\n%s", sender, receiver, trace)
	}
}

func TestChatReset(t *testing.T) {
	t.Parallel()
	ready := make(chan struct{})
	w := open(t, "chat", serve(t, func(conn *net.TCPConn) {
		<-ready
		conn.SetLinger(0)
	}))
	w.editing(t)
	sender := w.sender(t)
	close(ready)
	w.wantExit(t, "1")
	w.waitShown(t, "preforkd: connection reset by the peer")
	wantGone(t, "the sender", sender)
}

// Ctrl-C ends both processes, also with a line being typed.
func TestChatInterrupt(t *testing.T) {
	t.Parallel()
	for _, key := range []struct{ key, exit string }{{"\x03", "130"}, {"\x1c", "131"}} {
		a, b := talk(t)
		a.editing(t)
		sender := senderOf(t, a.receiver)
		a.Type(t, "half a li")
		a.waitRows(t, "you> half a li")
		a.Type(t, key.key)
		a.wantExit(t, key.exit)
		wantGone(t, "the sender", sender)
		b.wantExit(t, "0")
		if strings.Contains(a.Output(), "goroutine") {
			t.Error("the user was shown a stack")
		}
	}
}

// Ctrl-C ends the wait for a peer.
func TestChatInterruptListening(t *testing.T) {
	t.Parallel()
	w := open(t, "chat", "--listen", "127.0.0.1:0")
	w.address(t)
	w.Type(t, "\x03")
	w.wantExit(t, "130")
}

// The names of both sides stand before their lines. A peer cannot take the other's
// name.
func TestChatNames(t *testing.T) {
	t.Parallel()
	a, b := talk(t, "--name", "alice", "--", "--name", "bob")
	a.editing(t)
	b.editing(t)
	a.waitShown(t, "the peer is bob")
	b.waitShown(t, "the peer is alice")
	a.Type(t, "hi\r")
	b.waitRows(t, "alice> hi", "bob>")
	a.waitRows(t, "alice> hi", "alice>")
	b.Type(t, "\x04")
	a.wantExit(t, "0")

	a, b = talk(t, "--name", "alice", "--", "--name", "Alice")
	a.editing(t)
	b.editing(t)
	b.Type(t, "hi\r")
	a.waitRows(t, "peer> hi", "alice>")
}

// NO_COLOR turns colours off.
func TestChatColour(t *testing.T) {
	t.Parallel()
	const cyan, green = "\x1b[36m", "\x1b[32m"
	a, b := talk(t, "NO_COLOR=1", "--", "TERM=xterm")
	a.editing(t)
	b.editing(t)
	a.Type(t, "hi\r")
	b.waitRows(t, "peer> hi", "you>")
	b.Type(t, "hi\r")
	a.waitRows(t, "you> hi", "peer> hi", "you>")
	if shown := a.Output(); strings.Contains(shown, cyan) || strings.Contains(shown, green) {
		t.Error("NO_COLOR is set, and there is colour")
	}
	if shown := b.Output(); !strings.Contains(shown, cyan+"peer> ") || !strings.Contains(shown, green+"you> ") {
		t.Error("the lines are not told apart by colour")
	}
}

// The peer's text is only printed. With --raw its control sequences take effect.
func TestChatEscapes(t *testing.T) {
	t.Parallel()
	const evil = "a\x1b[2J\x07\xff\u009b31m\rb\n"
	for _, c := range []struct{ flag, want string }{
		{"--raw=false", `peer> a^[[2J^G\xff\u{9b}31m^Mb`},
		{"--raw", strings.TrimSuffix(evil, "\n")},
	} {
		hold := make(chan struct{})
		w := open(t, "NO_COLOR=1", "chat", c.flag, serve(t, func(conn *net.TCPConn) {
			io.WriteString(conn, evil)
			<-hold
		}))
		w.waitShown(t, c.want)
		close(hold)
		w.wantExit(t, "0")
	}
}

// A terminal without escape sequences gets none, and works.
func TestChatDumb(t *testing.T) {
	t.Parallel()
	a, b := talk(t, "TERM=dumb", "--", "TERM=dumb")
	a.editing(t)
	b.editing(t)
	a.Type(t, "half a li")
	a.waitRows(t, "you> half a li")
	b.Type(t, "one\r")
	a.waitRows(t, "peer> one", "you> half a li")
	if strings.Contains(a.Output(), "\x1b") {
		t.Error("a dumb terminal got an escape sequence")
	}
}

// A chat can listen at the path of a stale socket that a killed chat has left.
func TestChatUnix(t *testing.T) {
	t.Parallel()
	path := filepath.Join(systest.Dir(t), "s")
	first := start(t, nil, "chat", "--listen", "unix:"+path)
	listeningAddress(t, &first.stderr)
	first.Process.Kill()
	<-first.ended
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	p := start(t, nil, "chat", "--listen", "unix:"+path)
	listeningAddress(t, &p.stderr)
	q := start(t, nil, "chat", "unix:"+path)
	p.stderr.waitFor(t, "connection from process "+itoa(q.Process.Pid)+" of user ")
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the path is still there: %v", err)
	}
	q.stdin.Close()
	p.stdin.Close()
	q.wantExit(t, 0, "the peer closed")
	p.wantExit(t, 0, "the peer closed")
}

// Output that is no terminal gets exactly the peer's bytes.
func TestChatPiped(t *testing.T) {
	t.Parallel()
	const text = "a\x1b[2J\x07\xff\r\n* x is here\nq\n"
	p := start(t, nil, "chat", "--name", "bob", serve(t, func(conn *net.TCPConn) {
		io.WriteString(conn, text)
		conn.CloseWrite()
		if got := readAll(conn); got != "q\n" {
			t.Errorf("the peer got %q", got)
		}
	}))
	p.send(t, "q\n")
	p.stdin.Close()
	p.wantExit(t, 0, "connected to", "the peer closed")
	if got := p.stdout.String(); got != text {
		t.Errorf("stdout is %q", got)
	}
}

func itoa(n int) string { return strconv.Itoa(n) }
