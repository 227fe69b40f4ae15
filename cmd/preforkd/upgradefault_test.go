package main

import (
	"bufio"
	"context"
	"errors"

	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
	"github.com/preforkd/preforkd/cmd/internal/systest/calltrace"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/upgrade"
)

func init() { systest.Register("fault", fault) }

// The programs of an upgrade. What a program has forked is a part of it until it executes
// another one.
const (
	oldProgram = "old"
	rehearsing = "rehearsal"
	newProgram = "new"
)

// A place is a system call of an upgrade: the one with this number among those of its name
// that all threads of a program make, from 1.
type place struct {
	program string
	call    string // see callName
	number  int
}

// A fault is an error at a place.
type placedFault struct {
	place
	errno unix.Errno
}

func (f placedFault) String() string {
	return fmt.Sprintf("%s %s %d %s", f.program, f.call, f.number, unix.ErrnoName(f.errno))
}

// What the helper says.
const (
	traceBegun     = "tracing"
	traceForbidden = "forbidden"
	callFailed     = "failed"
)

// fault traces a master that is upgraded. Of one argument, its pid, it prints each call of
// the programs of the upgrade. Of a place and an error beside, it has that call fail, says so
// and ends.
func fault(args []string) int {
	pid, err := strconv.Atoi(args[0])
	if err != nil {
		return fail("%v", err)
	}
	var f placedFault
	if len(args) > 1 {
		f.program, f.call = args[1], args[2]
		f.number, _ = strconv.Atoi(args[3])
		errno, _ := strconv.Atoi(args[4])
		f.errno = unix.Errno(errno)
	}
	made := map[place]int{}
	err = calltrace.Run(pid, func() { fmt.Println(traceBegun) }, func(c calltrace.Call) unix.Errno {
		kind := place{program: programOf(c.Process, pid), call: callName(c)}
		if kind.program == "" {
			return 0
		}
		made[kind]++
		switch {
		case f.number == 0:
			fmt.Println(kind.program, kind.call)
		case kind.program == f.program && kind.call == f.call && made[kind] == f.number:
			fmt.Println(callFailed)
			return f.errno
		}
		return 0
	})
	if errors.Is(err, unix.EPERM) {
		fmt.Println(traceForbidden)
	} else if err != nil {
		return fail("%v", err)
	}
	return 0
}

// programOf returns which program of the upgrade of a master a process runs, "" if none.
func programOf(p *calltrace.Process, master int) string {
	executed := p.Executed
	switch {
	case p.PID == master:
	case p.Executed == 0 && p.Parent != nil && p.Parent.PID == master:
		executed = p.Born
	case p.Executed == 1 && strings.Contains(commandLine(p.PID), "--"+upgrade.FlagRehearse):
		return rehearsing
	default:
		return "" // a worker
	}
	switch executed {
	case 0:
		return oldProgram
	case 1:
		return newProgram
	}
	return "" // after the way back
}

func commandLine(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return string(text)
}

// A faultTracer is the helper at work.
type faultTracer struct {
	cmd   *exec.Cmd
	ended chan struct{}

	mu    sync.Mutex // guards what follows
	lines []string
}

// startFaultTracer starts the helper for a master, and waits until it traces.
func startFaultTracer(t *testing.T, m *systest.Master, args ...string) *faultTracer {
	t.Helper()
	line := systest.Helper("fault", append([]string{strconv.Itoa(m.PID)}, args...)...)
	f := &faultTracer{cmd: exec.CommandContext(t.Context(), line[0], line[1:]...), ended: make(chan struct{})}
	f.cmd.Stderr = os.Stderr
	stdout, err := f.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(f.ended)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			f.mu.Lock()
			f.lines = append(f.lines, lines.Text())
			f.mu.Unlock()
		}
		_ = f.cmd.Wait() // it may have been killed
	}()
	t.Cleanup(f.end)
	systest.Until(t, "the master is traced", func() bool {
		if slices.Contains(f.said(), traceForbidden) {
			systest.Skip(t, "needs the right to trace processes")
		}
		return slices.Contains(f.said(), traceBegun)
	}, nil)
	return f
}

func (f *faultTracer) said() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.lines)
}

// faulted reports whether a call has failed.
func (f *faultTracer) faulted() bool { return slices.Contains(f.said(), callFailed) }

// end ends the trace. Who was traced goes on.
func (f *faultTracer) end() {
	_ = f.cmd.Process.Kill()
	<-f.ended
}

// ends are what the Go runtime says when it ends a program because a system call has
// failed. That is beyond the reach of an upgrade, and of any program in Go: before its
// main function nothing of the program runs, and later nothing of it is asked. It is so
// for
//
//   - a thread that cannot be made, by clone(2);
//   - the check of descriptors 0 to 2 at the start of every program, by fcntl(2);
//   - the poller that cannot be made, by epoll_create1(2), eventfd2(2) and epoll_ctl(2), at
//     its first use.
//
// In the old program the last two do not occur. In the new one they do, and then the
// process ends. A service manager starts another master, with the listeners that it keeps;
// what was live ends as it does with every end of a master.
var ends = []string{
	"runtime: failed to create new OS thread",
	"runtime: unexpected error while checking standard file descriptor",
	"runtime: /dev/null opened at wrong fd",
	"runtime: failed to open",
	"runtime: opened unexpected file descriptor",
	"runtime: epollcreate failed",
	"runtime: eventfd failed",
	"runtime: epollctl failed",
	"runtime: netpollBreak write failed",
}

// endedByRuntime reports whether the Go runtime has ended a master for what nobody can
// help.
func endedByRuntime(m *systest.Master) bool {
	for _, e := range m.Events(systest.Is("")) {
		if slices.ContainsFunc(ends, func(begin string) bool { return strings.HasPrefix(e.Line, begin) }) {
			return true
		}
	}
	return false
}

// faultRig starts a master that has a service manager, a live connection and a spare, and
// puts another version in place.
func faultRig(t *testing.T) (installation, *systest.Master, *systest.Client) {
	t.Helper()
	here := install(t, versionOne)
	supervisor := systest.NewSupervisor(t)
	m := systest.Options{Program: here.preforkd(), Env: []string{supervisor.Env()}, Config: single(catting, "spares = 1")}.Start(t)
	m.Spares = 1
	live := m.Dial(t)
	live.Echo(t, "hello")
	m.WaitSpares(t, 1)
	here.replace(t, versionTwo)
	return here, m, live
}

// callsOfUpgrade traces an upgrade, and returns how often each call is made in it: places
// whose numbers are the last ones.
func callsOfUpgrade(t *testing.T) []place {
	t.Helper()
	_, m, live := faultRig(t)
	tracer := startFaultTracer(t, m)
	m.Signal(t, unix.SIGUSR2)
	if e := m.WaitFor(t, isOutcome); e.Msg != upgraded {
		t.Fatalf("%s", e.Line)
	}
	tracer.end()
	servesOn(t, m, live)
	m.Kill(t)
	made := map[place]int{}
	var order []place
	for _, line := range tracer.said() {
		program, call, found := strings.Cut(line, " ")
		if !found {
			continue
		}
		kind := place{program: program, call: call}
		if made[kind]++; made[kind] == 1 {
			order = append(order, kind)
		}
	}
	for i, kind := range order {
		order[i].number = made[kind]
	}
	return order
}

// Every system call of an upgrade is in one of the tables, and if one of those that fail
// there does so, either the new program serves or the old one does: who was there is served
// on, who comes is served, the process is the same, and another upgrade succeeds.
func TestUpgradeSystemCallFaults(t *testing.T) {
	t.Parallel()
	calls := callsOfUpgrade(t)
	for _, p := range calls {
		_, faulted := faults[p.call]
		_, not := notFaulted[p.call]
		if faulted == not {
			t.Errorf("%s makes the call %q, which must be in one of the tables", p.program, p.call)
		}
	}
	for _, program := range []string{oldProgram, rehearsing, newProgram} {
		if !slices.ContainsFunc(calls, func(p place) bool { return p.program == program }) {
			t.Errorf("of the program %s there is no call", program)
		}
	}
	if longRounds(t) == 0 {
		for _, f := range fewFaults {
			t.Run(f.String(), func(t *testing.T) {
				t.Parallel()
				if got := f.try(t); got != f.outcome {
					t.Errorf("the upgrade has had the outcome %q, want %q", got, f.outcome)
				}
			})
		}
		return
	}
	all := faultsAt(calls)
	t.Logf("%d faults", len(all))
	outcomes := &counter{counts: map[string]int{}}
	t.Cleanup(func() { t.Logf("outcomes: %v", outcomes.counts) })
	for _, f := range all {
		t.Run(f.String(), func(t *testing.T) {
			t.Parallel()
			outcomes.add(f.program + ": " + f.try(t))
		})
	}
}

// A counter counts what tests that run at a time have come to.
type counter struct {
	mu     sync.Mutex // guards counts
	counts map[string]int
}

func (c *counter) add(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[what]++
}

// faultsAt returns the faults of the table at all calls.
func faultsAt(calls []place) (all []placedFault) {
	for _, p := range calls {
		for number := range p.number {
			for _, errno := range faults[p.call] {
				all = append(all, placedFault{place{p.program, p.call, number + 1}, errno})
			}
		}
	}
	return all
}

// What becomes of an upgrade in which a call has failed.
const (
	wentBackBefore = "the old program has not executed the new one"
	wentBackAfter  = "the new program has executed the old one again"
	upgradedStill  = "the new program serves"
	runtimeEnded   = "the Go runtime has ended the program"
	notReached     = "the call was not made"
)

// try makes an upgrade with a fault, and another one without. It returns what became of the
// first one.
func (f placedFault) try(t *testing.T) (became string) {
	here, m, live := faultRig(t)
	tracer := startFaultTracer(t, m, f.program, f.call, strconv.Itoa(f.number), strconv.Itoa(int(f.errno)))
	m.Signal(t, unix.SIGUSR2)
	systest.Until(t, "the upgrade is over", func() bool {
		if len(m.Events(isOutcome)) > 0 || m.Ended() {
			return true
		}
		// The line of the outcome may be what has failed.
		s, err := statusOf(t, m)
		return tracer.faulted() && err == nil && s.Master.Upgrades.Count+s.Master.Upgrades.Failed > 0
	}, m.Log)
	tracer.end()
	if m.Ended() {
		m.Killed = true
		m.WaitLogEnd(t)
		if !endedByRuntime(m) {
			t.Errorf("the process has ended:\n%s", m.Log())
		}
		return runtimeEnded
	}
	if f.cut(m) {
		live = m.Dial(t)
	}
	s := servesOn(t, m, live)
	other := versionOne
	switch last := s.Upgrades.LastFailure; {
	case s.Version == versionTwo:
		became = upgradedStill
	case slices.Contains([]upgrade.Step{upgrade.StepBinary, upgrade.StepExport, upgrade.StepRehearsal, upgrade.StepExec}, upgrade.Step(last.Step)):
		became, other = wentBackBefore, versionTwo
	default:
		became, other = wentBackAfter, versionTwo
	}
	if last := s.Upgrades.LastFailure; last != nil {
		t.Logf("%s: %s", last.Step, last.Reason)
	}
	if !tracer.faulted() {
		became = notReached
	}
	t.Log(became)
	// Whatever the fault has left, it is not in the way of the next upgrade.
	here.replace(t, other)
	upgradeTo(t, m, other, false)
	servesOn(t, m, live)
	live.Close()
	systest.Until(t, "the connection has ended", func() bool { return looked(t, m).Master.Live == 0 }, m.Log)
	// A fault may have cost a descriptor that could not be closed, or a signal. So there is
	// no more to ask.
	m.Kill(t)
	return became
}

// cut reports whether the fault was in the call that reads what a worker says, who is not
// trusted then, and cuts his connection.
func (f placedFault) cut(m *systest.Master) bool {
	return f.call == "recvmsg" && len(m.Events(func(e systest.Event) bool {
		return e.Msg == systest.Reaped && e.Conn != "" && strings.HasSuffix(e.Error, f.errno.Error())
	})) > 0
}

// statusOf returns the status of a master that need not answer.
func statusOf(t *testing.T, m *systest.Master) (control.Status, error) {
	c := control.NewClient(m.Control)
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	return c.Status(ctx)
}

// servesOn holds that a master serves: who was there, who comes, and operators, and that no
// connection is lost by its account.
func servesOn(t *testing.T, m *systest.Master, live *systest.Client) control.Master {
	t.Helper()
	live.Echo(t, "still here")
	newcomer(t, m)
	var s control.Master
	systest.Until(t, "all connections are accounted for", func() bool {
		s = looked(t, m).Master
		return s.Live == 1 && s.Accepted == s.Refused+s.Failed+s.Reaped+s.Live
	}, func() string { return fmt.Sprintf("%+v", s) })
	if s.PID != m.PID || s.State != "serving" || s.Refused+s.Failed > 0 {
		t.Errorf("%+v", s)
	}
	return s
}
