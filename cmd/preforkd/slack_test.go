package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

func init() {
	systest.Register("slack", slack)
}

// slack runs a command with a timer slack, whose nanoseconds are the first argument.
func slack(args []string) int {
	runtime.LockOSThread()
	ns, err := strconv.ParseUint(args[0], 10, 64)
	if err == nil {
		err = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(ns), 0, 0, 0)
	}
	if err != nil {
		return fail("set the timer slack: %v", err)
	}
	return execute(args[1:])
}

// slacksOf returns the timer slacks of all threads of a process, in ns, each once.
func slacksOf(t *testing.T, pid int) string {
	t.Helper()
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil && systest.Alive(pid) {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, task := range tasks {
		text, err := os.ReadFile("/proc/" + task.Name() + "/timerslack_ns")
		if err == nil { // it may have ended
			seen[strings.TrimSpace(string(text))] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(seen)), " ")
}

const (
	// slackVariable is package osthread's.
	slackVariable = "PREFORKD_USUAL_SLACK"

	usualSlack   = "50000"  // init_task.c of the kernel
	relaxedSlack = "200000" // package osthread
)

// withSlack starts a master whose own slack is ns, with these arguments.
func withSlack(t *testing.T, ns, args string, o systest.Options) *systest.Master {
	t.Helper()
	o.Wrap = append(systest.Helper("slack", ns), o.Wrap...)
	o.Args = strings.Fields(args)
	m := o.Start(t)
	m.StopSignal = syscall.SIGQUIT
	// Not WaitSpares, for which the first process of a box would be one.
	systest.Until(t, "spares", func() bool { return len(workersOf(m)) >= m.Spares }, nil)
	return m
}

// workersOf returns the children of a master that run preforkd's own worker binary, or
// the SDK's program of tests: spares, and those that have a connection.
func workersOf(m *systest.Master) (pids []int) {
	for _, p := range systest.Children(m.PID) {
		if command := commandOf(p.PID); strings.Contains(command, "preforkd-worker") || strings.Contains(command, "testworker") && !strings.Contains(command, "serve") {
			pids = append(pids, p.PID)
		}
	}
	return pids
}

// commandOf returns the arguments of a process, "" if it has ended.
func commandOf(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return string(text)
}

// expectSlack waits until a worker has executed what it is to be, and checks all of its
// threads.
func expectSlack(t *testing.T, pid int, want string) {
	t.Helper()
	systest.Until(t, "a program", func() bool { return systest.Getenv(pid, "PREFORKD_SERVICE") != "" || !systest.Alive(pid) }, nil)
	if got := slacksOf(t, pid); got != want {
		t.Errorf("the threads of process %d have slacks of %q, want %s", pid, got, want)
	}
	if systest.Alive(pid) && slices.ContainsFunc(systest.Environ(pid), func(variable string) bool { return hasKey(variable, slackVariable) }) {
		t.Errorf("process %d has %s", pid, slackVariable)
	}
}

// expectMaster checks the main thread of a master and its monitor, the second thread.
func expectMaster(t *testing.T, m *systest.Master, main, monitor string) {
	t.Helper()
	list, err := os.Open(fmt.Sprintf("/proc/%d/task", m.PID))
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	threads, err := list.Readdirnames(2)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{main, monitor} {
		got, err := os.ReadFile("/proc/" + threads[i] + "/timerslack_ns")
		if err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("thread %d of the master has a slack of %q, %v; want %s", i, got, err, want)
		}
	}
	if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", m.PID)); string(comm) != "preforkd\n" {
		t.Errorf("the master is called %q, %v", comm, err)
	}
}

// nobody runs a master as a user who may do nothing that others may not.
func nobody(t *testing.T) []string {
	return []string{systest.Need(t, "setpriv"), "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"}
}

// withoutCapability runs a master as root who may not change the slack of another thread.
func withoutCapability(t *testing.T) []string {
	return []string{systest.Need(t, "setpriv"), "--bounding-set", "-sys_nice", "--"}
}

// Built-in handlers have the slack of a relaxed monitor, however they start, and nobody
// else has, nor what that starts. How the monitor has got it is of no account. What the
// configuration says, all have.
func TestSlackOfWorkers(t *testing.T) {
	t.Parallel()
	t.Run("by the capability", func(t *testing.T) { slackOfWorkers(t, nil, "") })
	t.Run("by an exec", func(t *testing.T) { slackOfWorkers(t, withoutCapability(t), "") })
	t.Run("of their own", func(t *testing.T) { slackOfWorkers(t, nil, "1234567") })
}

// slackOfWorkers starts workers in each way, with timer-slack if that is not empty, in ns.
func slackOfWorkers(t *testing.T, wrap []string, own string) {
	t.Parallel()
	systest.NeedRoot(t) // who may look at others' slack
	testworker := systest.Program(t, "cmd/internal/systest/testworker")
	for name, c := range map[string]struct{ args, want string }{
		"handler":                {"echo", relaxedSlack},
		"handler, without a box": {"--box-preset none echo", relaxedSlack},
		"handler, strict":        {"--box-preset strict echo", relaxedSlack},
		"handler, umask":         {"--box-preset none --umask 027 echo", relaxedSlack},
		"handler, two threads":   {"--worker-processors 2 echo", relaxedSlack},
		"spare handler":          {"--spares 2 echo", relaxedSlack},
		"reused handler":         {"--spares 2 --connections-per-worker 5 echo", relaxedSlack},
		"wrapped handler":        {"--wrap env echo", usualSlack},
		"stdio":                  {"-- cat", usualSlack},
		"stdio, umask":           {"--umask 027 -- cat", usualSlack},
		"spare stdio":            {"--spares 2 -- cat", usualSlack},
		"wrapped stdio":          {"--wrap env -- cat", usualSlack},
		"SDK":                    {"--handoff worker -- " + testworker + " lines", usualSlack},
		"spare SDK":              {"--spares 2 --handoff worker -- " + testworker + " lines", usualSlack},
		"systemd":                {"--handoff systemd -- sleep 1000", usualSlack},
		"spare systemd":          {"--spares 2 --handoff systemd -- sleep 1000", usualSlack},
		"basic box":              {"--box-preset basic -- cat", usualSlack},
		"strict box":             {"--box-preset strict -- cat", usualSlack},
		"spare in a box":         {"--spares 2 --box-preset basic --box-private-pids -- cat", usualSlack},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if own != "" {
				c.args, c.want = "--timer-slack "+own+"ns "+c.args, own
			}
			m := withSlack(t, usualSlack, c.args, systest.Options{Wrap: wrap})
			expectMaster(t, m, usualSlack, relaxedSlack)
			for range 3 { // each start leaves the thread as it was
				expectSlack(t, m.Dial(t).Worker(t), c.want)
			}
			for _, pid := range workersOf(m) {
				if got := slacksOf(t, pid); systest.Alive(pid) && got != c.want {
					t.Errorf("process %d of the worker binary has slacks of %q, want %s", pid, got, c.want)
				}
			}
			for _, p := range systest.Children(m.PID) { // the first processes of boxes
				if got := slacksOf(t, p.PID); strings.HasPrefix(commandOf(p.PID), "preforkd-cell") && got != usualSlack {
					t.Errorf("%s has slacks of %q, want %s", commandOf(p.PID), got, usualSlack)
				}
			}
		})
	}
}

// A master without the capability executes itself once more, and is the same process with
// what it was started with. Who sets its variable does not disturb it.
func TestSlackWithoutCapability(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	for name, c := range map[string]struct {
		args    string
		wrap    []string // a helper would take the variable
		worker  string   // the slack of a worker
		monitor string   // that of the monitor
	}{
		"handler":          {"--spares 1 echo", nil, relaxedSlack, relaxedSlack},
		"program":          {"-- cat", nil, usualSlack, relaxedSlack},
		"signals blocked":  {"-- cat", systest.Helper("blocked"), usualSlack, relaxedSlack},
		"strange variable": {"-- cat", []string{"env", slackVariable + "=x"}, usualSlack, relaxedSlack},
		"empty variable":   {"-- cat", []string{"env", slackVariable + "="}, usualSlack, relaxedSlack},
		"somebody's own":   {"-- cat", []string{"env", slackVariable + "=12345"}, usualSlack, usualSlack},
		"worker asks":      {"--env " + slackVariable + " -- cat", []string{"env", slackVariable + "=x"}, usualSlack, relaxedSlack},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := withSlack(t, usualSlack, c.args, systest.Options{Wrap: append(nobody(t), c.wrap...)})
			expectMaster(t, m, usualSlack, c.monitor)
			expectSlack(t, m.Dial(t).Worker(t), c.worker)
		})
	}
}

// Nothing that a master is started with is lost on the way.
func TestStartOfAMasterThatIsExecuted(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	dir := systest.Dir(t)
	socket := newUnit(t, "tcp", "127.0.0.1:0")
	wrap := append(sh(`ulimit -Sn 300; trap '' USR2 ALRM; exec "$@"`, "sh"), nobody(t)...)
	m := systest.Options{Args: []string{"--listen", "127.0.0.1:1", "--", "cat"}, Dir: dir, Wrap: wrap,
		Passed: []systest.Passed{{File: socket.file, Name: "cat"}}}.Start(t)
	expectMaster(t, m, usualSlack, relaxedSlack)
	for _, sig := range []syscall.Signal{syscall.SIGUSR2, syscall.SIGALRM} {
		m.Signal(t, sig)
	}
	c := socket.dial(t, m)
	c.Echo(t, "hello\n")
	worker := c.Worker(t)
	expectSlack(t, worker, usualSlack)
	for pid, want := range map[int]string{m.PID: dir, worker: dir} {
		if got, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); got != want {
			t.Errorf("process %d is in %q, %v; want %s", pid, got, err, want)
		}
	}
	if limit := openFiles(t, worker); limit != 300 {
		t.Errorf("a worker may open %d descriptors, want 300", limit)
	}
	if limit := openFiles(t, m.PID); limit <= 300 {
		t.Errorf("the master may open %d descriptors", limit)
	}
	if event := m.Events(systest.Is(systest.Listening))[0]; event.From != "passed" {
		t.Errorf("a listener was not passed: %s", event.Line)
	}
}

// openFiles returns how many descriptors a process may open (RLIMIT_NOFILE). To ask the
// kernel itself takes a capability where the process is another user's.
func openFiles(t *testing.T, pid int) (soft int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err == nil {
		_, rest, _ := strings.Cut(string(text), "\nMax open files ")
		_, err = fmt.Sscan(rest, &soft)
	}
	if err != nil {
		t.Fatal(err)
	}
	return soft
}

// In a container the first process has most likely no such capability.
func TestSlackAsPID1(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	wrap := append([]string{systest.Need(t, "unshare"), "--mount-proc", "--"}, withoutCapability(t)...)
	m := systest.Options{Attr: &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}, Wrap: wrap,
		Args: program(sh(`echo $PPID; exec cat`)...)}.Start(t)
	m.OwnPIDs = true
	expectMaster(t, m, usualSlack, relaxedSlack)
	c := m.Dial(t)
	c.Expect(t, "1\n")
	c.Close()
	c.End(t)
}

// Who starts the master with a slack decides: it is everybody's, and where it is as much
// as that of a relaxed monitor, nobody has another but by the configuration.
func TestSlackOfTheMasterIsHandedOn(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	for _, c := range []struct{ ns, args, want string }{
		{"70000", "echo", relaxedSlack},
		{"70000", "-- cat", "70000"},
		{"1", "-- cat", "1"},
		{"200000", "-- cat", "200000"},
		{"3000000", "echo", "3000000"},
		{"3000000", "-- cat", "3000000"},
		{"3000000", "--timer-slack 200us echo", "200000"},
		{"3000000", "--timer-slack 50us -- cat", "50000"},
		{"70000", "--timer-slack auto -- cat", "70000"},
	} {
		m := withSlack(t, c.ns, c.args, systest.Options{})
		expectSlack(t, m.Dial(t).Worker(t), c.want)
	}
}

// A program that asks for another slack than it is started with has that.
func TestProgramSetsItsSlack(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	m := systest.Options{Args: append([]string{"--timer-slack", "200us"}, program(systest.Helper("slack", "70000", "cat")...)...)}.Start(t)
	c := m.Dial(t)
	c.Echo(t, "it is cat by now")
	expectSlack(t, c.Worker(t), "70000")
}

// A program of a rule has what the service says.
func TestSlackOfARule(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	m := configured(t, 1, single(`program = ["/bin/false"]`, `timer-slack = "2ms"`, "[[service.one.rule]]", `from = ["127.0.0.1"]`, catting))
	c := m.Dial(t)
	c.Echo(t, "cat")
	expectSlack(t, c.Worker(t), "2000000")
}

// A reload gives new workers another slack, spares too, and leaves the old ones alone.
func TestReloadChangesTheSlack(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	for _, spares := range []string{"spares = 0", "spares = 2"} {
		t.Run(spares, func(t *testing.T) {
			t.Parallel()
			text := func(slack string) string { return single(catting, spares, "timer-slack = \""+slack+"\"") }
			m := systest.Options{Config: text("70us"), Wrap: systest.Helper("slack", usualSlack)}.Start(t)
			m.StopSignal = syscall.SIGQUIT
			var older int
			for i, c := range []struct{ slack, want string }{{"70us", "70000"}, {"1ms", "1000000"}, {"auto", usualSlack}} {
				if i > 0 {
					reloaded(t, m, text(c.slack))
				}
				client := m.Dial(t)
				client.Echo(t, "hello")
				worker := client.Worker(t)
				expectSlack(t, worker, c.want)
				if i == 0 {
					older = worker
				}
			}
			expectSlack(t, older, "70000")
		})
	}
}

// preforkd box runs a program with the slack that it has itself, or that of the service.
func TestSlackOfBoxCommand(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	for slack, want := range map[string]string{"auto": "70000\n", "200us": "200000\n"} {
		args := systest.Helper("slack", "70000", systest.Preforkd(t), "box", "--timer-slack", slack, "--box-preset", "basic", "--", "cat", "/proc/self/timerslack_ns")
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "GOCOVERDIR="+t.TempDir())
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != want {
			t.Errorf("%s: %q, %v; want %q", slack, out, err, want)
		}
	}
}
