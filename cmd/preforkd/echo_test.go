package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
	"github.com/preforkd/preforkd/ipc"
)

// noise returns n reproducible bytes of every value.
func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8(sha256.Sum256(nil)).Read(b)
	return b
}

// Every byte comes back, in order, until EOF, however large the pieces are.
func TestEchoIsExact(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string][]string{
		"plain":        nil,
		"instrumented": systest.Instrumented(t),
		"quit word":    append(systest.Instrumented(t), "--quit-word", "exit"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := systest.Start(t, append(flags, "echo")...)
			for _, size := range []int{0, 1, 2, 511, 4096, 65537, 8 << 20} {
				c := m.Dial(t)
				want := noise(size)
				failed := make(chan error, 1)
				go func() {
					_, err := c.Write(want)
					if err == nil {
						err = c.Conn.(interface{ CloseWrite() error }).CloseWrite()
					}
					failed <- err
				}()
				if got := c.ExpectEnd(t); got != string(want) {
					t.Fatalf("%d bytes: %d other bytes came back", size, len(got))
				}
				if err := <-failed; err != nil {
					t.Fatal(err)
				}
				end := c.End(t)
				if end.Reason != string(ipc.ReasonEOF) || end.Code() != ipc.ExitOK {
					t.Errorf("%d bytes: %s", size, end.Line)
				}
				if end.BytesIn == nil || *end.BytesIn != int64(size) || end.BytesOut == nil || *end.BytesOut != int64(size) {
					t.Errorf("%d bytes were counted as: %s", size, end.Line)
				}
			}
		})
	}
}

// A byte comes back while the client's direction is open: nothing waits for
// more, or for the end of a line.
func TestEchoDoesNotWait(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, "echo")
	c := m.Dial(t)
	for i := range 256 {
		c.Echo(t, string([]byte{byte(i)}))
	}
	c.CloseWrite(t)
	if rest := c.ExpectEnd(t); rest != "" {
		t.Errorf("%q came after the end", rest)
	}
}

// Without a quit word the line "exit" is a line like any other (RFC 862), and a
// client that just closes is an end of file.
func TestEchoHasNoQuitWordByDefault(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, "echo")
	c := m.Dial(t)
	c.Echo(t, "exit\n")
	c.Echo(t, "still here\n")
	c.Close()
	if end := c.End(t); end.Reason != string(ipc.ReasonEOF) {
		t.Errorf("reason %q: %s", end.Reason, end.Line)
	}
}

func TestQuitWord(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, append(systest.Instrumented(t), "--quit-word", "exit", "echo")...)
	for _, c := range []struct {
		name   string
		pieces []string // each sent once the answer to the one before has come
		reason ipc.Reason
	}{
		{"the word", []string{"exit\n"}, ipc.ReasonQuitWord},
		{"the word in pieces", []string{"ex", "it", "\n"}, ipc.ReasonQuitWord},
		{"after other lines", []string{"hello\nworld\n", "exit\n"}, ipc.ReasonQuitWord},
		{"in one piece with others", []string{"hello\nexit\n"}, ipc.ReasonQuitWord},
		{"a longer line", []string{"exits\n", "an exit\n", "exit \n"}, ipc.ReasonEOF},
		{"the end of a line in pieces", []string{"no ", "exit\n"}, ipc.ReasonEOF},
		{"no line's end", []string{"exit"}, ipc.ReasonEOF},
	} {
		client := m.Dial(t)
		sent := ""
		for i, piece := range c.pieces {
			client.Send(t, piece)
			sent += piece
			// The line that ends the connection need not come back.
			if i < len(c.pieces)-1 && c.reason == ipc.ReasonEOF {
				client.Expect(t, piece)
				sent = ""
			}
		}
		if c.reason == ipc.ReasonEOF {
			client.CloseWrite(t)
		}
		// With the quit word it is the server that ends the connection: the
		// client has closed nothing.
		got := client.ExpectEnd(t)
		if c.reason == ipc.ReasonEOF && got != sent {
			t.Errorf("%s: %q came back of %q", c.name, got, sent)
		}
		if before, _, _ := strings.Cut(sent, "exit\n"); !strings.HasPrefix(got, before) || !strings.HasPrefix(sent, got) {
			t.Errorf("%s: %q came back of %q", c.name, got, sent)
		}
		if end := client.End(t); end.Reason != string(c.reason) || end.Code() != ipc.ExitOK {
			t.Errorf("%s: want reason %s: %s", c.name, c.reason, end.Line)
		}
	}
}

// A client that half-closes first still gets everything, then the end.
func TestHalfCloseFirst(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, "echo")
	c := m.Dial(t)
	want := noise(200_000)
	var writer sync.WaitGroup
	writer.Go(func() {
		if _, err := c.Write(want); err != nil {
			t.Error(err)
		}
	})
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("other bytes came back: %v", err)
	}
	writer.Wait()
	c.Send(t, "last words")
	c.CloseWrite(t)
	if got := c.ExpectEnd(t); got != "last words" {
		t.Errorf("%q came after the half-close", got)
	}
	if end := c.End(t); end.Reason != string(ipc.ReasonEOF) {
		t.Errorf("want reason eof: %s", end.Line)
	}
}

// standsStill waits until a client that writes and does not read has filled all
// buffers on the way: the count of what it wrote does not grow, and the worker
// sleeps in its write.
func standsStill(t *testing.T, worker int, written *atomic.Int64) {
	t.Helper()
	last, still := int64(-1), 0
	systest.Until(t, "a writer that stands still", func() bool {
		p, _ := systest.Stat(worker)
		if n := written.Load(); n == 0 || n != last || p.State != 'S' {
			last, still = n, 0
		} else {
			still++
		}
		return still > 20
	}, nil)
}

// A client that stops reading stops the worker, not its memory's bounds.
func TestBackPressure(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string][]string{"splice": {"echo"}, "copy": {"--quit-word", "exit", "echo"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := systest.Start(t, flags...)
			small := m.Dial(t)
			small.Echo(t, "x")
			small.Close()
			quiet := *small.End(t).MaxRSS

			c := m.Dial(t)
			const size = 64 << 20
			want := noise(1 << 20)
			var written atomic.Int64
			var writer sync.WaitGroup
			writer.Go(func() {
				for written.Load() < size {
					n, err := c.Write(want)
					written.Add(int64(n))
					if err != nil {
						return
					}
				}
				c.Conn.(interface{ CloseWrite() error }).CloseWrite()
			})
			standsStill(t, c.Worker(t), &written)
			if n := written.Load(); n >= size {
				t.Errorf("%d bytes were taken from a client that reads none", n)
			}
			got := make([]byte, len(want))
			for range size / len(want) {
				if _, err := io.ReadFull(c, got); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, want) {
					t.Fatal("other bytes came back")
				}
			}
			if rest := c.ExpectEnd(t); rest != "" {
				t.Errorf("%d bytes too many came back", len(rest))
			}
			writer.Wait()
			end := c.End(t)
			if end.Reason != string(ipc.ReasonEOF) || *end.BytesOut != size {
				t.Errorf("unexpected end: %s", end.Line)
			}
			if more := *end.MaxRSS - quiet; more > 16<<20 {
				t.Errorf("%d bytes of memory more than for a single byte", more)
			}
		})
	}
}

// A reset ends the worker, with a reason of its own.
func TestReset(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, append(systest.Instrumented(t), "echo")...)
	other := m.Dial(t)
	other.Echo(t, "before")
	for _, word := range []string{"", "something"} {
		c := m.Dial(t)
		if word != "" {
			c.Echo(t, word)
		}
		c.Worker(t)
		c.Reset(t)
		if end := c.End(t); end.Reason != string(ipc.ReasonReset) || end.Code() != ipc.ExitReset {
			t.Errorf("after %q: want reason reset and code %d: %s", word, ipc.ExitReset, end.Line)
		}
	}
	other.Echo(t, "after")
}

// A reset while the worker writes is one as well, and no SIGPIPE.
func TestResetWhileWriting(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, "echo")
	c := m.Dial(t)
	var written atomic.Int64
	var writer sync.WaitGroup
	writer.Go(func() {
		piece := noise(1 << 16)
		for {
			n, err := c.Write(piece)
			written.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	standsStill(t, c.Worker(t), &written)
	c.Reset(t)
	writer.Wait()
	end := c.End(t)
	if end.Reason != string(ipc.ReasonReset) || end.Signal != "" {
		t.Errorf("want reason reset: %s", end.Line)
	}
}

// Many clients at once get their own bytes and nobody else's.
func TestEchoConcurrently(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, append(systest.Instrumented(t), "echo")...)
	var clients sync.WaitGroup
	for i := range 40 {
		clients.Go(func() {
			c, err := m.TryDial()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for j := range 20 {
				if err := c.TryEcho(fmt.Sprintf("client %d, message %d\n", i, j)); err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
			}
		})
	}
	clients.Wait()
	m.WaitIdle(t)
	pids := map[int]bool{}
	for _, e := range m.Events(systest.Is(systest.Reaped)) {
		pids[e.PID] = true
	}
	if len(pids) != 40 {
		t.Errorf("%d processes served 40 connections", len(pids))
	}
	m.Signal(t, syscall.SIGTERM)
	if code := m.WaitExit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// Large transfers do not pass through the worker's memory; where the kernel
// cannot do that, they do, and nothing is lost.
func TestSplice(t *testing.T) {
	t.Parallel()
	strace := systest.Need(t, "strace")
	for name, inject := range map[string]string{
		"works":             "",
		"unknown":           "-e inject=splice:error=ENOSYS",
		"not for these":     "-e inject=splice:error=EINVAL",
		"stops in between":  "-e inject=splice:error=EINVAL:when=6+",
		"is interrupted":    "-e inject=splice:error=EINTR:when=3+5",
		"no pipe to be had": "-e inject=pipe2:error=EMFILE",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := systest.Dir(t) + "/trace"
			m := systest.Start(t, "--wrap", strace+" -f -qq -o "+out+" -e trace=splice,pipe2,fcntl,read,recvfrom "+inject, "echo")
			c := m.Dial(t)
			want := noise(16 << 20)
			go func() {
				c.Write(want)
				c.Conn.(interface{ CloseWrite() error }).CloseWrite()
			}()
			if got := c.ExpectEnd(t); got != string(want) {
				t.Errorf("%d other bytes came back", len(got))
			}
			if end := c.End(t); end.Reason != string(ipc.ReasonEOF) || *end.BytesIn != int64(len(want)) || *end.BytesOut != int64(len(want)) {
				t.Errorf("unexpected end: %s", end.Line)
			}
			trace, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			if inject == "" && !strings.Contains(string(trace), "splice(3") {
				t.Errorf("nothing was spliced from the connection:\n%s", trace[:min(len(trace), 4000)])
			}
			if inject != "" && !strings.Contains(string(trace), "(INJECTED)") {
				t.Errorf("nothing was injected:\n%s", trace[:min(len(trace), 4000)])
			}
		})
	}
}
