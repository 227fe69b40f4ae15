package terminal_test

import (
	"io"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// On a terminal, a question stands above its answer. q, Q and Ctrl-D end the input.
func TestConnectTerminal(t *testing.T) {
	t.Parallel()
	address := echo(t)
	for _, end := range []string{"q\r", "Q\r", "\x04"} {
		w := open(t, "connect", address)
		w.editing(t)
		sender := w.sender(t)
		for _, line := range []string{"one", "two", "three"} {
			w.Type(t, line+"\r")
			w.waitRows(t, "> "+line, line, ">")
		}
		w.waitRows(t, "> one", "one", "> two", "two", "> three", "three", ">")
		w.Type(t, end)
		w.wantExit(t, "0")
		w.waitShown(t, "the server closed the connection")
		wantGone(t, "the sender", sender)
		if strings.Contains(w.Output(), "sender") {
			t.Error("the second process showed itself")
		}
	}
}

// With --no-quit-word, q is an ordinary line.
func TestConnectTerminalNoQuitWord(t *testing.T) {
	t.Parallel()
	w := open(t, "connect", "--no-quit-word", echo(t))
	w.editing(t)
	w.Type(t, "q\r")
	w.waitRows(t, "> q", "q", ">")
	w.Type(t, "\x04")
	w.wantExit(t, "0")
}

// Text that is typed before the program is ready is not lost, and neither is an end of
// input.
func TestConnectTypeAhead(t *testing.T) {
	t.Parallel()
	w := newWindow(t)
	w.Type(t, "early\rbird\r\x04")
	w.start(t, "NO_COLOR=1", "connect", echo(t))
	w.wantExit(t, "0")
	w.waitShown(t, "> early\r")
	w.waitShown(t, "> bird\r")
}

// A line may be longer than the 4095 bytes that the kernel's editing allows.
func TestConnectLongLine(t *testing.T) {
	t.Parallel()
	line := strings.Repeat("0123456789", 2000)
	got := make(chan string, 1)
	w := open(t, "connect", serve(t, func(conn *net.TCPConn) { got <- readAll(conn) }))
	w.editing(t)
	w.Type(t, line+"\r\x04")
	w.wantExit(t, "0")
	if sent := <-got; sent != line+"\n" {
		t.Errorf("of a line of %d bytes the server got %d", len(line), len(sent))
	}
}

// The answer is typed behind a server's prompt. The prompt stays when more text
// arrives.
func TestConnectPrompt(t *testing.T) {
	t.Parallel()
	typed, rest := make(chan struct{}), make(chan struct{})
	w := open(t, "connect", serve(t, func(conn *net.TCPConn) {
		io.WriteString(conn, "login: ")
		<-typed
		io.WriteString(conn, "(30 s left)\nlogin: ")
		<-rest
	}))
	w.editing(t)
	w.Type(t, "me")
	w.waitRows(t, "login: me")
	close(typed)
	w.waitRows(t, "login: (30 s left)", "login: me")
	close(rest)
	w.wantExit(t, "0")
}

// The editing keys are the user's own.
func TestConnectEditing(t *testing.T) {
	t.Parallel()
	w := newWindow(t)
	w.set(t, "erase", "^X")
	w.start(t, "connect", echo(t))
	w.editing(t)
	w.Type(t, "nonsense\x15some wrds\x17words\x18\x18\x18\x18\x18text\r")
	w.waitRows(t, "> some text", "some text", ">")
	w.Type(t, "\x04")
	w.wantExit(t, "0")
}

// When echo or line editing is already off, it stays off.
func TestConnectOwnMode(t *testing.T) {
	t.Parallel()
	w := newWindow(t)
	w.set(t, "-echo")
	w.start(t, "connect", echo(t))
	w.sender(t)
	w.Type(t, "secret\r")
	w.waitRows(t, "secret") // from the echo service only
	if strings.Count(w.Output(), "secret") != 1 || w.Modes(t) != w.before {
		t.Errorf("shown: %q", w.Output())
	}
	w.Type(t, "\x04")
	w.wantExit(t, "0")

	w = newWindow(t)
	w.set(t, "raw", "-echo")
	w.start(t, "connect", "--raw", echo(t))
	w.sender(t)
	w.Type(t, "x") // without Enter
	w.waitRows(t, "x")
	if w.Modes(t) != w.before {
		t.Error("the terminal was changed")
	}
}

// Changes of other programs to the terminal's modes are kept, and the terminal is still
// restored.
func TestConnectTerminalChangedMeanwhile(t *testing.T) {
	t.Parallel()
	w := open(t, "connect", echo(t))
	w.editing(t)
	w.SetModes(t, "-ixon")
	w.Type(t, "\x04")
	w.waitShown(t, "[exit 0]")
	after := w.Modes(t)
	w.SetModes(t, "ixon")
	if w.Modes(t) != w.before || after == w.before {
		t.Errorf("before %s after %s", w.before, after)
	}
}

// When either process is killed, the terminal is restored.
func TestConnectTerminalKilled(t *testing.T) {
	t.Parallel()
	for _, killSender := range []bool{false, true} {
		for _, by := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGSEGV} {
			w := open(t, "connect", echo(t))
			w.editing(t)
			sender, receiver := w.sender(t), w.receiver
			victim := receiver
			if killSender {
				victim = sender
			}
			syscall.Kill(victim, by)
			wantGone(t, "the sender", sender)
			wantGone(t, "the receiver", receiver)
			w.waitShown(t, "[exit ")
			w.wantTerminal(t)
		}
	}
}

// When only stdout or only stdin is the terminal, lines are not edited. Output is made
// safe on the terminal only.
func TestConnectHalfTerminal(t *testing.T) {
	t.Parallel()
	const evil = "\x1b[2J\r\n"
	// stdout is the terminal
	w := newWindow(t)
	p := &program{Cmd: exec.Command(systest.Preforkd(t), "connect", echo(t))}
	p.Stdout, p.Stderr = w.Terminal(), &p.stderr
	p.run(t, fileOf(t, evil))
	p.wantExit(t, 0, "the server closed the connection")
	w.waitShown(t, "^[[2J\r")
	// stdin is the terminal
	w = newWindow(t)
	p = &program{Cmd: exec.Command(systest.Preforkd(t), "connect", echo(t))}
	p.Stdout, p.Stderr = &p.stdout, &p.stderr
	p.run(t, w.Terminal())
	w.Type(t, "\x16\x1b[2J\r\x04")
	p.wantExit(t, 0)
	if got := p.stdout.String(); got != "\x1b[2J\n" {
		t.Errorf("stdout is %q", got)
	}
	w.wantTerminal(t)
}

// The terminal is never made non-blocking, because all programs on it would notice.
func TestConnectBlockingTerminal(t *testing.T) {
	t.Parallel()
	w := open(t, "connect", echo(t))
	w.editing(t)
	for _, pid := range []int{w.receiver, w.sender(t)} {
		for _, fd := range systest.FDs(pid) {
			if strings.HasPrefix(fd.Target, "/dev/pts/") && fd.NonBlocking() {
				t.Errorf("process %d has a non-blocking terminal at %d", pid, fd.Number)
			}
		}
	}
	w.Type(t, "\x04")
	w.wantExit(t, "0")
}

// Ctrl-Z restores the terminal for the shell. fg continues the session.
func TestConnectSuspend(t *testing.T) {
	t.Parallel()
	bash := systest.Need(t, "bash")
	w := newWindow(t)
	w.run(t, exec.Command(bash, "--norc", "--noediting", "-i"))
	address := echo(t)
	w.Type(t, systest.Preforkd(t)+" connect "+address+"\r")
	w.waitShown(t, "connected to")
	w.editing(t)
	w.Type(t, "half")
	w.waitRows(t, "> half")
	w.Type(t, "\x1a")
	w.waitShown(t, "Stopped")
	w.wantTerminal(t)
	w.Type(t, "echo between; fg\r")
	w.waitShown(t, "\nbetween")
	w.editing(t)
	w.Type(t, " a line\r")
	w.waitRows(t, "> half a line", "half a line", ">")
	// A client that is stopped and killed in the background leaves nothing behind, and
	// the shell keeps the terminal.
	w.Type(t, "\x1a")
	systest.Until(t, "stopped again", func() bool { return strings.Count(w.Output(), "Stopped") == 2 }, w.Output)
	w.Type(t, "kill %1; fg\r")
	w.waitShown(t, "Terminated")
	w.wantTerminal(t)
	w.Type(t, "exit\r")
}

// A client that is started in the background waits until it may use the terminal.
func TestConnectBackground(t *testing.T) {
	t.Parallel()
	bash := systest.Need(t, "bash")
	for _, busy := range []bool{false, true} { // whether the shell's own line editing is on
		w := newWindow(t)
		w.run(t, exec.Command(bash, "--norc", "-i"))
		line := systest.Preforkd(t) + " connect " + echo(t) + " & "
		gate := systest.NewGate(t)
		if busy {
			line += " read -r line <" + gate.Path
		}
		w.Type(t, line+"\r")
		var job int
		systest.Until(t, "stopped", func() bool {
			for _, p := range systest.Children(w.shell.Process.Pid) {
				job = p.PID
				return p.State == 'T' && systest.Executable(p.PID) == systest.Preforkd(t)
			}
			return false
		}, w.Output)
		if busy {
			gate.Open(t)
		}
		// A shell that has not noticed the stop would not continue the job.
		for !strings.Contains(w.Output(), "Stopped") {
			before := strings.Count(w.Output(), "[1]+")
			w.Type(t, "jobs\r")
			systest.Until(t, "the job is listed", func() bool { return strings.Count(w.Output(), "[1]+") > before }, w.Output)
		}
		w.Type(t, "fg\r")
		senderOf(t, job)
		w.waitRows(t, ">")
		w.Type(t, "typed\r")
		w.waitRows(t, "> typed", "typed", ">")
		w.Type(t, "\x04")
		wantGone(t, "the job", job)
		w.Type(t, "echo al''ive\r")
		w.waitShown(t, "alive")
	}
}

// When the window changes its size, the input line is drawn again.
func TestConnectResize(t *testing.T) {
	t.Parallel()
	w := open(t, "connect", echo(t))
	w.editing(t)
	w.Type(t, "half")
	w.waitRows(t, "> half")
	before := len(w.Output())
	syscall.Kill(w.receiver, syscall.SIGWINCH)
	systest.Until(t, "painted", func() bool { return len(w.Output()) > before }, nil)
	w.Type(t, " a line\r")
	w.waitRows(t, "> half a line", "half a line", ">")
}
