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
	preparations["count"] = func() { rehearse(count, "psst") }

	handlers["panic once"] = panicOnce
	preparations["panic once"] = func() { rehearse(panicOnce, "") }

	handlers["inherited"] = inherited
	preparations["inherited"] = func() { rehearse(inherited, "") }

	handlers["count, short of files"] = count
	preparations["count, short of files"] = func() {
		// The contract's five, two of the runtime's, and one to receive a
		// connection with. A rehearsal takes five.
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 8, Max: 8}); err != nil {
			panic(err)
		}
		rehearse(count, "psst")
	}
}

func rehearse(h worker.Handler, said string) {
	if err := worker.Rehearse(h, []byte(said)); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// heard is what the handlers have heard in this process.
var heard []string

// count answers with all that it has heard, and on which connections.
func count(c *worker.Conn) error {
	said, err := io.ReadAll(c)
	heard = append(heard, c.ID()+":"+string(said))
	fmt.Fprint(c, heard)
	return err
}

func panicOnce(c *worker.Conn) error {
	c.Context()
	if heard = append(heard, ""); len(heard) == 1 {
		panic("stage fright")
	}
	_, err := io.Copy(c, c)
	return err
}

// inherited answers with the descriptors beyond the standard ones that programs
// get which this handler starts.
func inherited(c *worker.Conn) error {
	out, err := exec.Command("/bin/sh", "-c", "for fd in 3 4 5 6 7 8 9; do [ ! -e /proc/$$/fd/$fd ] || echo $fd; done").CombinedOutput()
	heard = append(heard, c.ID()+":"+string(out))
	fmt.Fprint(c, heard)
	return err
}

// give has a spare serve a client that says hello, and returns the answer.
func (c *child) give(t *testing.T, a ipc.Assignment) string {
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

// A spare that has rehearsed is as any other to the master, in its descriptors
// too, and has served nobody so far. Not even a panic is told.
func TestRehearse(t *testing.T) {
	for handler, want := range map[string]string{
		"count":      "[:psst c1:hello]",
		"panic once": "hello",
	} {
		t.Run(handler, func(t *testing.T) {
			rehearsed, other := start(t, handler, devNull(t)), start(t, "echo", devNull(t))
			for _, w := range []*child{rehearsed, other} {
				w.expect(t, ipc.TypeReady)
			}
			if got, want := rehearsed.descriptors(t), other.descriptors(t); got != want {
				t.Errorf("it holds %s\nwant %s", got, want)
			}
			if got := rehearsed.give(t, ipc.Assignment{Connection: "c1"}); got != want {
				t.Errorf("the client got %q, want %q", got, want)
			}
			rehearsed.expect(t, ipc.TypeTaken)
			if r := rehearsed.report(t); r.Reason != ipc.ReasonEOF || r.BytesIn != uint64(len("hello")) {
				t.Errorf("report %+v", r)
			}
			if code := rehearsed.exit(); code != ipc.ExitOK || rehearsed.stderr.String() != "" {
				t.Errorf("exit code %s, stderr %q", ipc.ExitName(code), rehearsed.stderr.String())
			}
			unix.Shutdown(other.control, unix.SHUT_RDWR)
			other.exit()
		})
	}
}

// What a handler starts has nothing of the worker's, in a rehearsal either.
func TestNobodyInheritsFromARehearsal(t *testing.T) {
	w := start(t, "inherited", devNull(t))
	w.expect(t, ipc.TypeReady)
	if got, want := w.give(t, ipc.Assignment{Connection: "c1"}), "[: c1:]"; got != want {
		t.Errorf("the client got %q, want %q", got, want)
	}
	w.exit()
}

// A worker with a client does not let it wait.
func TestNobodyWaitsForARehearsal(t *testing.T) {
	server, client := sockettest.TCP(t)
	w := start(t, "count", server, encode(t, ipc.Assignment{Connection: "c1"}))
	client.CloseWrite()
	if answer, err := io.ReadAll(client); string(answer) != "[c1:]" || err != nil {
		t.Errorf("%q, %v", answer, err)
	}
	w.exit()
}

// A rehearsal that cannot take place is no reason not to serve.
func TestRehearseWithoutDescriptors(t *testing.T) {
	w := start(t, "count, short of files", devNull(t))
	w.expect(t, ipc.TypeReady)
	if got := w.give(t, ipc.Assignment{Connection: "c1"}); got != "[c1:hello]" {
		t.Errorf("the client got %q", got)
	}
	w.exit()
	if said := w.stderr.String(); said != "rehearse: too many open files\n" {
		t.Errorf("stderr %q", said)
	}
}

// descriptors lists the open files of a child by their kinds.
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
