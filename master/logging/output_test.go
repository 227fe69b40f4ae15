package logging

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/slowtest"
)

// helperEnv makes the test binary the program that TestBrokenStderr runs.
const helperEnv = "PREFORKD_LOGGING_HELPER"

// helper logs to a broken stderr if the environment says so. Then it writes to
// stdout, which shows that it still runs.
func helper() bool {
	if os.Getenv(helperEnv) == "" {
		return false
	}
	l, err := New(Options{})
	if err != nil {
		fmt.Println(err)
		return true
	}
	for range 100 {
		logEvents(l.Logger)
	}
	fmt.Println("close:", l.Close(slowtest.Scale(time.Minute)))
	return true
}

func TestBrokenStderr(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"=1")
	cmd.Stderr = w
	out, err := cmd.Output()
	if err != nil || string(out) != "close: <nil>\n" {
		t.Errorf("got %q, %v", out, err)
	}
}

// newPipe returns a pipe. The caller must close the write end.
func newPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r, w
}

func newFileLogger(t *testing.T, options Options) *Logger {
	t.Helper()
	l, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestReaderThatStandsStill(t *testing.T) {
	r, w := newPipe(t)
	l := newFileLogger(t, Options{Output: w})
	w.Close()
	line := zap.String("padding", strings.Repeat("x", 1000))
	const logged = 3000 // more than the pipe and the queue hold
	for range logged {
		l.Info(EventReaped, line)
	}
	l.Info(EventStopped)
	if err := l.Close(time.Millisecond); err == nil {
		t.Error("closed, although nobody reads")
	}

	// A late reader gets the queued lines and the number of lost ones.
	seen := 0
	var last string
	scanner := bufio.NewScanner(r)
	for scanner.Scan() {
		var fields struct {
			Msg   string
			Lines int
		}
		if err := json.Unmarshal(scanner.Bytes(), &fields); err != nil {
			t.Fatalf("%q: %v", scanner.Bytes(), err)
		}
		switch last = fields.Msg; last {
		case EventReaped:
			seen++
		case eventLinesLost:
			seen += fields.Lines
		}
	}
	if seen != logged || last != EventStopped {
		t.Errorf("%d of %d lines written or counted, then %q", seen, logged, last)
	}
	if err := l.Close(slowtest.Scale(time.Minute)); err != nil {
		t.Error(err)
	}
}

// O_NONBLOCK belongs to the open file description, which others share. The
// logger respects it and never changes it.
func TestNonBlockingPipe(t *testing.T) {
	for _, nonblock := range []bool{true, false} {
		r, w := newPipe(t)
		conn, err := w.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		flags := func(set bool) (now int) {
			t.Helper()
			err := conn.Control(func(fd uintptr) {
				if set {
					if err := unix.SetNonblock(int(fd), nonblock); err != nil {
						t.Error(err)
					}
				}
				now, err = unix.FcntlInt(fd, unix.F_GETFL, 0)
				if err != nil {
					t.Error(err)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			return now
		}
		before := flags(true)
		l := newFileLogger(t, Options{Output: w})
		const logged = 2000 // more than the pipe holds, less than the queue does
		for range logged {
			l.Info(EventReaped, Reason(strings.Repeat("x", 100)))
		}
		if after := flags(false); after != before {
			t.Errorf("flags of the file were %#x, are %#x", before, after)
		}
		w.Close()
		got := make(chan int)
		go func() {
			data, _ := io.ReadAll(r)
			got <- strings.Count(string(data), "\n")
		}()
		if err := l.Close(slowtest.Scale(time.Minute)); err != nil {
			t.Error(err)
		}
		if n := <-got; n != logged {
			t.Errorf("nonblock %v: read %d lines of %d", nonblock, n, logged)
		}
	}
}

func TestConcurrentWriters(t *testing.T) {
	r, w := newPipe(t)
	l := newFileLogger(t, Options{Output: w})
	w.Close()
	const writers, each = 8, 300
	var wg sync.WaitGroup
	for writer := range writers {
		wg.Go(func() {
			for n := range each {
				l.Info(EventReaped, PID(writer), zap.Int("n", n))
			}
		})
	}
	next := make([]int, writers)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for scanner := bufio.NewScanner(r); scanner.Scan(); {
			var fields struct{ PID, N int }
			if err := json.Unmarshal(scanner.Bytes(), &fields); err != nil {
				t.Errorf("%q: %v", scanner.Bytes(), err)
				return
			}
			if fields.N != next[fields.PID] {
				t.Errorf("writer %d: line %d, want %d", fields.PID, fields.N, next[fields.PID])
			}
			next[fields.PID]++
		}
	}()
	wg.Wait()
	if err := l.Close(slowtest.Scale(time.Minute)); err != nil {
		t.Error(err)
	}
	<-done
	for writer, n := range next {
		if n != each {
			t.Errorf("writer %d: %d lines of %d", writer, n, each)
		}
	}
}

// openTerminal returns both ends of a pseudo-terminal.
func openTerminal(t *testing.T) (master, terminal *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	conn, err := master.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var number int
	err = conn.Control(func(fd uintptr) {
		if err := unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err != nil {
			t.Error(err)
		}
		var err error
		if number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return master, terminal
}

func TestAutoOnATerminal(t *testing.T) {
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	master, terminal := openTerminal(t)
	l := newFileLogger(t, Options{Output: terminal})
	l.Warn(EventRefused, Service("echo"))
	got, err := bufio.NewReader(master).ReadString('\n')
	if err != nil || !strings.Contains(got, "\x1b[33mrefused\x1b[0m       echo\r\n") {
		t.Errorf("got %q, %v", got, err)
	}

	master.Close() // the terminal is gone: EIO from now on
	for range 10 {
		l.Warn(EventRefused)
	}
	if err := l.Close(slowtest.Scale(time.Minute)); err != nil {
		t.Error(err)
	}
}

func TestAutoElsewhere(t *testing.T) {
	r, w := newPipe(t)
	l := newFileLogger(t, Options{Output: w})
	w.Close() // the logger has a descriptor of its own
	l.Debug(EventAccepted)
	l.Info(EventStopped)
	if err := l.Close(slowtest.Scale(time.Minute)); err != nil {
		t.Error(err)
	}
	got, err := io.ReadAll(r)
	if err != nil || strings.Count(string(got), "\n") != 1 || !strings.HasSuffix(string(got), `"msg":"stopped"}`+"\n") {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestClosedOutputIsAnError(t *testing.T) {
	_, w := newPipe(t)
	w.Close()
	if _, err := New(Options{Output: w}); err == nil || !strings.HasPrefix(err.Error(), "log to |1: ") {
		t.Errorf("got %v", err)
	}
}
