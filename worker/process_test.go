package worker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/worker"
	"github.com/preforkd/preforkd/worker/sockettest"
)

// envHandler names the handler that a child process serves with, instead of running
// tests.
const envHandler = "PREFORKD_TEST_HANDLER"

func TestMain(m *testing.M) {
	if name := os.Getenv(envHandler); name != "" {
		if prepare := beforeServing[name]; prepare != nil {
			prepare()
		}
		worker.Serve(handlers[name])
	}
	os.Exit(m.Run())
}

// handlers are the programs of these tests. Some first write to the client, so that a
// test knows that they run.
var handlers = map[string]worker.Handler{
	"echo": func(c *worker.Conn) error {
		_, err := io.Copy(c, c)
		return err
	},
	"nothing":     func(c *worker.Conn) error { return nil },
	"fail":        func(c *worker.Conn) error { return errors.New("no such record") },
	"index panic": indexPanic,
	"panic": func(c *worker.Conn) error {
		fmt.Fprint(c, "last words")
		return errors.New(os.Args[99])
	},
	"values": func(c *worker.Conn) error {
		return errors.Join(c.Report("user", "joe"), c.Report("requests", "1"), c.Report("requests", "2"))
	},
	"bad value": func(c *worker.Conn) error { return c.Report("No Key", "") },
	"say goodbye": func(c *worker.Conn) error {
		_, err := c.Read(make([]byte, 1))
		fmt.Fprint(c, "goodbye")
		return err
	},
	"context": func(c *worker.Conn) error {
		ctx := c.Context()
		fmt.Fprint(c, "here")
		<-ctx.Done()
		fmt.Fprint(c, "goodbye")
		return nil
	},
	"context error": func(c *worker.Conn) error {
		ctx := c.Context()
		fmt.Fprint(c, "here")
		<-ctx.Done()
		return fmt.Errorf("wait: %w", ctx.Err())
	},
	"interrupted read": func(c *worker.Conn) error {
		stop := context.AfterFunc(c.Context(), func() { c.SetReadDeadline(time.Now()) })
		defer stop()
		fmt.Fprint(c, "here")
		_, err := c.Read(make([]byte, 1))
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("read: %w", err)
		}
		fmt.Fprint(c, "goodbye")
		return nil
	},
	"context and echo": func(c *worker.Conn) error {
		c.Context()
		_, err := io.Copy(c, c)
		return err
	},
	"arguments": func(c *worker.Conn) error {
		_, err := fmt.Fprint(c, os.Args[1:], c.Peer(), c.Service())
		return err
	},
	"print": func(c *worker.Conn) error {
		fmt.Println("not for the client")
		_, err := fmt.Fprint(c, "for the client")
		return err
	},
}

// beforeServing has functions that a program calls before it serves, by handler.
var beforeServing = map[string]func(){}

// A child is a worker process with the master's end of its control channel.
type child struct {
	cmd     *exec.Cmd
	stderr  bytes.Buffer
	control int
}

// command returns a child that is not yet started.
func command(handler string, args ...string) *child {
	c := &child{cmd: exec.Command("/proc/self/exe", args...), control: -1}
	c.cmd.Args[0] = "mine"
	c.cmd.Env = append(os.Environ(), envHandler+"="+handler, "GORACE=atexit_sleep_ms=0")
	c.cmd.Stderr = &c.stderr
	return c
}

// start starts a worker with fd as its connection and with messages in its channel. The
// worker owns fd.
func start(t *testing.T, handler string, fd int, messages ...[]byte) *child {
	t.Helper()
	c := command(handler, "--flag", "argument")
	master, end, err := ipc.NewChannel()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(master) })
	c.control = master
	for _, msg := range messages {
		c.send(t, msg)
	}
	c.cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(fd), "connection"), os.NewFile(uintptr(end), "control")}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, f := range c.cmd.ExtraFiles {
		f.Close()
	}
	return c
}

// spawn is start for an example: without a testing.T, and with a client and an
// assignment.
func spawn(handler string) (*child, io.Reader) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		panic(err)
	}
	master, end, err := ipc.NewChannel()
	if err != nil {
		panic(err)
	}
	msg, err := (&ipc.Assignment{Connection: "c1"}).Append(nil)
	if err == nil {
		err = ipc.Send(master, msg)
	}
	if err != nil {
		panic(err)
	}
	c := command(handler)
	c.control = master
	c.cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(ends[1]), "connection"), os.NewFile(uintptr(end), "control")}
	if err := c.cmd.Start(); err != nil {
		panic(err)
	}
	for _, f := range c.cmd.ExtraFiles {
		f.Close()
	}
	return c, os.NewFile(uintptr(ends[0]), "client")
}

func (c *child) send(t *testing.T, msg []byte) {
	t.Helper()
	if err := ipc.Send(c.control, msg); err != nil {
		t.Fatal(err)
	}
}

// expect waits for a message of the wanted type and returns its body.
func (c *child) expect(t *testing.T, want ipc.Type) []byte {
	t.Helper()
	typ, body, err := ipc.Receive(c.control, make([]byte, ipc.MaxMessage), 0)
	if err != nil || typ != want {
		t.Fatalf("receive: %v, %v; want %v", typ, err, want)
	}
	return body
}

func (c *child) report(t *testing.T) ipc.Report {
	t.Helper()
	r, err := ipc.DecodeReport(c.expect(t, ipc.TypeReport))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// exit waits until the process has ended and returns its exit code.
func (c *child) exit() int {
	c.cmd.Wait()
	return c.cmd.ProcessState.ExitCode()
}

func encode(t *testing.T, a ipc.Assignment) []byte {
	t.Helper()
	msg, err := a.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

func devNull(t *testing.T) int {
	t.Helper()
	fd, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// This test covers every way in which a connection ends. It runs each for a worker that
// was started for its connection, for a spare, and for a reusable spare.
func TestExitCodesAndReports(t *testing.T) {
	garbage := []byte("garbage!")
	const short = 30 * time.Millisecond
	for name, test := range map[string]struct {
		handler string
		limits  ipc.Limits
		after   string // the client waits for this text first
		control []byte // the master sends this message
		client  string // the client sends this and half-closes; "" for neither, "reset" for a reset
		got     string // everything that the client gets
		code    int
		reason  ipc.Reason
		said    string // the text on stderr, "" for none
		last    bool   // the worker takes no other connection after this one
	}{
		"eof":         {handler: "echo", client: "hello", got: "hello", reason: ipc.ReasonEOF},
		"done":        {handler: "nothing", reason: ipc.ReasonDone},
		"failure":     {handler: "fail", code: ipc.ExitHandler, reason: ipc.ReasonError, said: "mine: connection c1: no such record\n"},
		"panic":       {handler: "panic", got: "last words", code: ipc.ExitPanic, reason: ipc.ReasonPanic, said: "mine: connection c1: panic: runtime error: index out of range [99]", last: true},
		"values":      {handler: "values", reason: ipc.ReasonDone},
		"bad value":   {handler: "bad value", code: ipc.ExitHandler, reason: ipc.ReasonError, said: `key "No Key"`},
		"idle":        {handler: "echo", limits: ipc.Limits{Idle: short}, code: ipc.ExitIdle, reason: ipc.ReasonIdle},
		"idle, bye":   {handler: "say goodbye", limits: ipc.Limits{Idle: short}, got: "goodbye", code: ipc.ExitIdle, reason: ipc.ReasonIdle},
		"idle, ctx":   {handler: "context and echo", limits: ipc.Limits{Idle: short}, code: ipc.ExitIdle, reason: ipc.ReasonIdle},
		"lifetime":    {handler: "echo", limits: ipc.Limits{Lifetime: short}, code: ipc.ExitLifetime, reason: ipc.ReasonLifetime},
		"both limits": {handler: "echo", limits: ipc.Limits{Idle: time.Hour, Lifetime: short}, code: ipc.ExitLifetime, reason: ipc.ReasonLifetime},
		"limits kept": {handler: "echo", limits: ipc.Limits{Idle: time.Hour, Lifetime: time.Hour}, client: "x", got: "x", reason: ipc.ReasonEOF},
		"drain":       {handler: "context", after: "here", control: ipc.Drain, got: "heregoodbye", reason: ipc.ReasonDrain, last: true},
		"drain error": {handler: "context error", after: "here", control: ipc.Drain, got: "here", reason: ipc.ReasonDrain, last: true},
		"drain read":  {handler: "interrupted read", after: "here", control: ipc.Drain, got: "heregoodbye", reason: ipc.ReasonDrain, last: true},
		"no drain":    {handler: "context and echo", client: "x", got: "x", reason: ipc.ReasonEOF},
		"garbage":     {handler: "context", after: "here", control: garbage, got: "heregoodbye", code: ipc.ExitProtocol, reason: ipc.ReasonDrain, said: "malformed message", last: true},
		"ready":       {handler: "context", after: "here", control: ipc.Ready, got: "heregoodbye", code: ipc.ExitProtocol, reason: ipc.ReasonDrain, said: "unexpected message: ready", last: true},
		"arguments":   {handler: "arguments", got: "[--flag argument]p:1s", reason: ipc.ReasonDone},
	} {
		for _, form := range []string{"spawned", "spare", "reused"} {
			t.Run(name+"/"+form, func(t *testing.T) {
				a := ipc.Assignment{Connection: "c1", Service: "s", Peer: "p:1", Limits: test.limits, Reusable: form == "reused"}
				server, client := sockettest.TCP(t)
				var w *child
				if form == "spawned" {
					w = start(t, test.handler, server, encode(t, a))
				} else {
					w = start(t, test.handler, devNull(t))
					w.expect(t, ipc.TypeReady)
					if err := ipc.SendConnection(w.control, encode(t, a), server); err != nil {
						t.Fatal(err)
					}
					unix.Close(server)
					w.expect(t, ipc.TypeAck)
				}
				before := make([]byte, len(test.after))
				if _, err := io.ReadFull(client, before); err != nil || string(before) != test.after {
					t.Fatalf("before: %q, %v", before, err)
				}
				if test.control != nil {
					w.send(t, test.control)
				}
				if test.client != "" {
					client.Write([]byte(test.client))
					client.CloseWrite()
				}
				got, err := io.ReadAll(client)
				if got := string(before) + string(got); err != nil || got != test.got {
					t.Errorf("the client got %q, %v; want %q", got, err, test.got)
				}
				client.Close()
				r := w.report(t)
				if r.Reason != test.reason || r.BytesOut != uint64(len(test.got)) || r.BytesIn != uint64(len(test.client)) {
					t.Errorf("report %+v", r)
				}
				if values := fmt.Sprint(r.Values); name == "values" && values != "[{user joe} {requests 2}]" {
					t.Errorf("values %s", values)
				}
				code := test.code
				if form == "reused" && !test.last {
					w.expect(t, ipc.TypeReady)
					w.send(t, ipc.Drain)
					code = ipc.ExitOK
				}
				if got := w.exit(); got != code {
					t.Errorf("exit code %s, want %s", ipc.ExitName(got), ipc.ExitName(code))
				}
				if said := w.stderr.String(); !strings.Contains(said, test.said) || test.said == "" && said != "" {
					t.Errorf("stderr %q, want %q", said, test.said)
				}
			})
		}
	}
}

// A drain that arrives before the assignment applies to the connection that the worker
// was started for.
func TestDrainBeforeAssignment(t *testing.T) {
	server, client := sockettest.TCP(t)
	w := start(t, "context", server, ipc.Drain, encode(t, ipc.Assignment{}))
	if got, err := io.ReadAll(client); string(got) != "heregoodbye" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if r := w.report(t); r.Reason != ipc.ReasonDrain {
		t.Errorf("report %+v", r)
	}
	if code := w.exit(); code != ipc.ExitOK {
		t.Errorf("exit code %s", ipc.ExitName(code))
	}
}

// A worker serves its client to the end when the master dies. This includes a handler
// with a context.
func TestContextAfterMasterExit(t *testing.T) {
	server, client := sockettest.TCP(t)
	w := start(t, "context and echo", devNull(t))
	w.expect(t, ipc.TypeReady)
	if err := ipc.SendConnection(w.control, encode(t, ipc.Assignment{Reusable: true}), server); err != nil {
		t.Fatal(err)
	}
	unix.Close(server)
	w.expect(t, ipc.TypeAck)
	unix.Shutdown(w.control, unix.SHUT_RDWR)
	client.Write([]byte("anybody there?"))
	client.CloseWrite()
	if got, err := io.ReadAll(client); string(got) != "anybody there?" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if code := w.exit(); code != ipc.ExitOK || w.stderr.Len() > 0 {
		t.Errorf("exit code %s, stderr %q", ipc.ExitName(code), w.stderr.String())
	}
}

// Each connection has its own context. The watcher of one connection never reads a
// message for the next.
func TestContextPerConnection(t *testing.T) {
	w := start(t, "context and echo", devNull(t))
	count := func() int {
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", w.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	first := 0
	for i := range 50 {
		w.expect(t, ipc.TypeReady)
		if i == 1 {
			first = count()
		}
		server, client := sockettest.Unix(t)
		if err := ipc.SendConnection(w.control, encode(t, ipc.Assignment{Reusable: true}), server); err != nil {
			t.Fatal(err)
		}
		unix.Close(server)
		w.expect(t, ipc.TypeAck)
		client.Write([]byte("x"))
		client.CloseWrite()
		if got, err := io.ReadAll(client); string(got) != "x" || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
		if r := w.report(t); r.Reason != ipc.ReasonEOF {
			t.Fatalf("report %+v", r)
		}
	}
	w.expect(t, ipc.TypeReady)
	if last := count(); last > first {
		t.Errorf("%d descriptors after one connection, %d after all", first, last)
	}
	w.send(t, ipc.Drain)
	if code := w.exit(); code != ipc.ExitOK || w.stderr.Len() > 0 {
		t.Errorf("exit code %s, stderr %q", ipc.ExitName(code), w.stderr.String())
	}
}
