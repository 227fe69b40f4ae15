package worker_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/worker"
	"github.com/preforkd/preforkd/worker/sockettest"
)

func init() {
	handlers["count"] = count
	beforeServing["count"] = func() { warmUp(count, "psst") }

	handlers["panic once"] = panicOnce
	beforeServing["panic once"] = func() { warmUp(panicOnce, "") }

	handlers["inherited"] = inherited
	beforeServing["inherited"] = func() { warmUp(inherited, "") }

	handlers["count, short of files"] = count
	beforeServing["count, short of files"] = func() {
		// The contract needs five descriptors and the runtime two. Receiving a
		// connection needs one more. A warm-up needs five.
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 8, Max: 8}); err != nil {
			panic(err)
		}
		warmUp(count, "psst")
	}
}

func warmUp(h worker.Handler, input string) {
	if err := worker.WarmUp(h, []byte(input)); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// received is everything that the handlers have received in this process.
var received []string

// count answers with everything received so far, and on which connections.
func count(c *worker.Conn) error {
	input, err := io.ReadAll(c)
	received = append(received, c.ID()+":"+string(input))
	fmt.Fprint(c, received)
	return err
}

func panicOnce(c *worker.Conn) error {
	c.Context()
	if received = append(received, ""); len(received) == 1 {
		panic("stage fright")
	}
	_, err := io.Copy(c, c)
	return err
}

// inherited answers with the descriptors above 2 that a program of this handler
// inherits.
func inherited(c *worker.Conn) error {
	out, err := exec.Command("/bin/sh", "-c", "for fd in 3 4 5 6 7 8 9; do [ ! -e /proc/$$/fd/$fd ] || echo $fd; done").CombinedOutput()
	received = append(received, c.ID()+":"+string(out))
	fmt.Fprint(c, received)
	return err
}

// sendConnection gives a spare a client that sends "hello". It returns the answer.
func (c *child) sendConnection(t *testing.T, a ipc.Assignment) string {
	t.Helper()
	server, client := sockettest.TCP(t)
	if err := ipc.SendConnection(c.control, encode(t, a), server); err != nil {
		t.Fatal(err)
	}
	unix.Close(server)
	client.Write([]byte("hello"))
	client.CloseWrite()
	answer, err := io.ReadAll(client)
	if err != nil {
		t.Error(err)
	}
	return string(answer)
}

// After a warm-up a spare looks to the master like any other spare, also in its
// descriptors. It has served nobody so far. Not even a panic is reported.
func TestWarmUp(t *testing.T) {
	for handler, want := range map[string]string{
		"count":      "[:psst c1:hello]",
		"panic once": "hello",
	} {
		t.Run(handler, func(t *testing.T) {
			warm, other := start(t, handler, devNull(t)), start(t, "echo", devNull(t))
			for _, w := range []*child{warm, other} {
				w.expect(t, ipc.TypeReady)
			}
			if got, want := warm.descriptors(t), other.descriptors(t); got != want {
				t.Errorf("it holds %s\nwant %s", got, want)
			}
			if got := warm.sendConnection(t, ipc.Assignment{Connection: "c1"}); got != want {
				t.Errorf("the client got %q, want %q", got, want)
			}
			warm.expect(t, ipc.TypeAck)
			if r := warm.report(t); r.Reason != ipc.ReasonEOF || r.BytesIn != uint64(len("hello")) {
				t.Errorf("report %+v", r)
			}
			if code := warm.exit(); code != ipc.ExitOK || warm.stderr.String() != "" {
				t.Errorf("exit code %s, stderr %q", ipc.ExitName(code), warm.stderr.String())
			}
			unix.Shutdown(other.control, unix.SHUT_RDWR)
			other.exit()
		})
	}
}

// A program that a handler starts inherits no descriptor of the worker, during a
// warm-up too.
func TestWarmUpLeaksNoDescriptors(t *testing.T) {
	w := start(t, "inherited", devNull(t))
	w.expect(t, ipc.TypeReady)
	if got, want := w.sendConnection(t, ipc.Assignment{Connection: "c1"}), "[: c1:]"; got != want {
		t.Errorf("the client got %q, want %q", got, want)
	}
	w.exit()
}

// A worker that has a client does not warm up.
func TestNoWarmUpWithConnection(t *testing.T) {
	server, client := sockettest.TCP(t)
	w := start(t, "count", server, encode(t, ipc.Assignment{Connection: "c1"}))
	client.CloseWrite()
	if answer, err := io.ReadAll(client); string(answer) != "[c1:]" || err != nil {
		t.Errorf("%q, %v", answer, err)
	}
	w.exit()
}

// A warm-up that fails does not keep a spare from serving.
func TestWarmUpWithoutDescriptors(t *testing.T) {
	w := start(t, "count, short of files", devNull(t))
	w.expect(t, ipc.TypeReady)
	if got := w.sendConnection(t, ipc.Assignment{Connection: "c1"}); got != "[c1:hello]" {
		t.Errorf("the client got %q", got)
	}
	w.exit()
	if said := w.stderr.String(); said != "warm up: too many open files\n" {
		t.Errorf("stderr %q", said)
	}
}

// descriptors lists the open files of a child with their kinds.
func (c *child) descriptors(t *testing.T) string {
	t.Helper()
	var all []string
	dir := fmt.Sprintf("/proc/%d/fd/", c.cmd.Process.Pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		target, err := os.Readlink(dir + entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		kind, _, _ := strings.Cut(target, ":")
		all = append(all, entry.Name()+"="+kind)
	}
	return fmt.Sprint(all)
}
