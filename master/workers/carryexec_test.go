package workers

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/ipc/slowtest"
	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/redact"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/service/servicetest"
)

// envExec has TestExec be the process that executes itself: "before" until then, and the
// name of the file with its state afterwards.
const envExec = "PREFORKD_TEST_EXEC"

// A handedOver is what TestExec hands over.
type handedOver struct {
	Set     *SetState           `json:"set"`
	Service service.State       `json:"service"`
	Specs   []service.SpecState `json:"specs"`
	FDs     []int               `json:"fds"`
	Serving int                 `json:"serving"` // pid of the worker that serves
	Client  int                 `json:"client"`  // the other end of its connection
	Spares  []int               `json:"spares"`  // pids, the idle one first
}

// execScript is a worker. A spare says that it is ready and waits; the second one does so
// only when there is a file. Another worker says half a line, waits for its client, says
// the rest, reports, and fails.
func execScript(dir string) string {
	octal := func(message []byte) string {
		var b strings.Builder
		for _, c := range message {
			fmt.Fprintf(&b, `\%03o`, c)
		}
		return b.String()
	}
	report := ipc.Report{BytesIn: 5, Reason: ipc.ReasonDone}
	message, err := report.Append(nil)
	if err != nil {
		panic(err)
	}
	return `if [ -c /proc/self/fd/3 ]; then
	if ! mkdir ` + dir + `/first 2>/dev/null; then while [ -d ` + dir + ` ] && ! [ -e ` + dir + `/go ]; do sleep 0.01; done; fi
	printf '` + octal(ipc.Ready) + `' >&4
	dd bs=9 count=1 <&4 >/dev/null 2>&1
	exit 0
fi
printf half >&2
read line <&3
echo " and $line" >&2
printf '` + octal(message) + `' >&4
exit 3
`
}

// Start implements Starter for a process.Command.
type starter struct{}

func (starter) Start(c *process.Command, conn *os.File, env []string, message []byte) (*process.Child, error) {
	return c.Start(conn, env, message)
}

// Workers live on when the program that has started them executes another one, and that
// one hears of all that becomes of them.
func TestExec(t *testing.T) {
	switch at := os.Getenv(envExec); at {
	case "":
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(self, "-test.run=^TestExec$", "-test.v", "-test.timeout=10m")
		cmd.Env = append(os.Environ(), envExec+"=before", "TMPDIR="+t.TempDir())
		out, err := cmd.CombinedOutput()
		if text := string(out); err != nil || !strings.Contains(text, "all workers have ended") {
			t.Errorf("%v\n%s", err, text)
		}
	case "before":
		execBefore(t)
	default:
		execAfter(t, at)
	}
}

// execKeys are the keys of the service, whose script is in a directory.
func execKeys(dir string) string {
	return "program = ['/bin/sh', '" + dir + "/script']\nhandoff = 'worker'\nmin-spares = 2\nmax-spares = 2\nstderr = 'log'\nleftovers = 'keep'\n"
}

func execBefore(t *testing.T) {
	dir, err := os.MkdirTemp("", "exec")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/script", []byte(execScript(dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	st := newStage(t, execKeys(dir))
	st.set.reaper.wait = process.Wait
	var over handedOver
	for range 2 {
		if start, wait := st.pool.ReserveStart(time.Now().Add(time.Hour)); !start {
			t.Fatalf("no spare for %v", wait)
		}
		w := NewSpare(st.pool, time.Now())
		if err := w.Start(starter{}); err != nil {
			t.Fatal(err)
		}
		st.set.Register(w)
		over.Spares = append(over.Spares, w.PID())
		if len(over.Spares) == 1 {
			slowtest.Await(t, "the first spare", func() bool { st.set.Read(w); return w.State() == Idle })
		}
	}
	c, client := servicetest.Connection(t, st.pool.spec, "c1")
	w := NewWorker(st.pool, c)
	if err := w.Start(starter{}); err != nil {
		t.Fatal(err)
	}
	st.set.Register(w)
	slowtest.Await(t, "half a line", func() bool { return lineOf(w.stderr) == "half" })

	state, d, specs := st.export()
	over.Set, over.Service, over.Specs = state, st.pool.spec.Owner().Export(specs), specs.States()
	over.Serving, over.Client = w.PID(), int(d.Keep(client))
	over.FDs = d.Numbers()
	text, err := json.Marshal(&over)
	if err != nil {
		t.Fatal(err)
	}
	file := dir + "/state"
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Open(); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Setenv(envExec, file); err != nil {
		t.Fatal(err)
	}
	t.Fatal(syscall.Exec(self, os.Args, os.Environ()))
}

func execAfter(t *testing.T, file string) {
	dir := filepath.Dir(file)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var over handedOver
	if err := json.Unmarshal(text, &over); err != nil {
		t.Fatal(err)
	}
	d, err := carry.Inherited(over.FDs)
	if err != nil {
		t.Fatal(err)
	}
	st := newStage(t, sdkProgram) // whose pool is replaced
	st.set.reaper.wait = process.Wait
	compiled := servicetest.Specs(t, "[service.test]\nlisten = ['unix:@preforkd-test']\n"+execKeys(dir))
	specs, err := service.RestoreSpecs(over.Specs, compiled)
	if err != nil {
		t.Fatal(err)
	}
	svc, err := service.RestoreService(&over.Service, specs, st.set.log)
	if err != nil {
		t.Fatal(err)
	}
	st.pool = NewPool(svc.Spec())
	if err := st.set.Restore(over.Set, d, specs, RestoreOptions{Version: ipc.Version, Redact: &redact.Policy{}, Pool: func(*service.Spec) *Pool { return st.pool }}); err != nil {
		t.Fatal(err)
	}
	if err := svc.CheckRestored(&over.Service); err != nil {
		t.Error(err)
	}
	if left := d.Untaken(); len(left) != 1 || left[0] != over.Client {
		t.Errorf("%v were not taken, want %d", left, over.Client)
	}
	st.set.Resume()
	stop := make(chan struct{})
	go st.set.Poll(stop)
	defer close(stop)
	turn := func() {
		select {
		case pids := <-st.set.Ready():
			st.set.ReadReady(pids)
		case <-time.After(time.Millisecond):
		}
		st.set.ReapAll()
	}

	// The spare that is not ready yet becomes so.
	if ready, starting := st.pool.Counts(); ready != 1 || starting != 1 {
		t.Errorf("%d spares are ready and %d starting, want 1 and 1", ready, starting)
	}
	if err := os.WriteFile(dir+"/go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	second := st.worker(over.Spares[1])
	slowtest.Await(t, "the second spare", func() bool { turn(); return second.State() == Idle })

	// The worker ends as it would have.
	serving := st.worker(over.Serving)
	if _, err := unix.Write(over.Client, []byte("more\n")); err != nil {
		t.Fatal(err)
	}
	slowtest.Await(t, "the end of the worker", func() bool { turn(); return serving.Reaped() })
	serving.stderr.Close()
	if tail := serving.stderr.Tail(serving.TailSince()); tail != "half and more" {
		t.Errorf("the worker has said %q at last", tail)
	}
	if r := serving.Report(); r == nil || r.BytesIn != 5 || serving.Violation() != nil {
		t.Errorf("it has reported %v, %v", r, serving.Violation())
	}
	if want := "exited " + strconv.Itoa(over.Serving) + ", serving, connection true"; len(st.told) == 0 || st.told[len(st.told)-1] != want {
		t.Errorf("the sink was told %q, want %q", st.told, want)
	}

	// One spare is given a connection, which it does not take, and the other one is
	// told to go.
	c, _ := servicetest.Connection(t, st.pool.spec, "c2")
	if w := st.pool.Assign(c, time.Now()); w != second {
		t.Error("the spare that was ready last has not the connection")
	}
	st.pool.Close(time.Now())
	slowtest.Await(t, "the end of the spares", func() bool { turn(); return st.set.Len() == 0 })
	if _, ended := process.Wait(process.AnyChild); ended {
		t.Error("a child was left")
	}
	if !t.Failed() {
		fmt.Println("all workers have ended")
	}
}
