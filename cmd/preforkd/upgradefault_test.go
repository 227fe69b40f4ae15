package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
	"github.com/preforkd/preforkd/ipc/needtest"
)

// A faulty is a system call that fails when an upgrade makes it.
type faulty struct {
	call  string
	errno string
	// argument selects calls by the text of their arguments, as strace prints them. The
	// other calls of this name go well.
	argument string
}

// faulties are the system calls of an upgrade, from the opening of the binary to the
// first thing that the new program serves. Each is made to fail at every place at which
// an upgrade makes it, but for those that the next list is about.
var faulties = []faulty{
	{call: "memfd_create", errno: "EMFILE"},
	{call: "pwrite64", errno: "ENOSPC"},
	{call: "pread64", errno: "EIO"},
	{call: "fcntl", errno: "EBUSY", argument: "F_ADD_SEALS"},
	{call: "fcntl", errno: "EINVAL", argument: "F_GET_SEALS"},
	{call: "fcntl", errno: "EBADF", argument: "F_SETFD"},
	{call: "fcntl", errno: "EBADF", argument: "F_GETFD"},
	{call: "fcntl", errno: "EBADF", argument: "F_GETFL"},
	{call: "fcntl", errno: "EMFILE", argument: "F_DUPFD_CLOEXEC"},
	{call: "execve", errno: "ENOMEM"},
	{call: "execve", errno: "ETXTBSY"},
	{call: "execveat", errno: "ENOMEM"},
	{call: "openat", errno: "EMFILE"},
	{call: "openat", errno: "EACCES"},
	{call: "read", errno: "EIO"},
	// Not EIO: the runtime gives up where it cannot wake its poller.
	{call: "write", errno: "EAGAIN"},
	{call: "close", errno: "EIO"},
	{call: "pidfd_open", errno: "EMFILE"},
	{call: "pidfd_send_signal", errno: "EPERM"},
	{call: "waitid", errno: "ECHILD"},
	{call: "epoll_ctl", errno: "ENOMEM"},
	{call: "pipe2", errno: "EMFILE"},
	{call: "socketpair", errno: "EMFILE"},
	{call: "socket", errno: "EMFILE"},
	{call: "connect", errno: "ECONNREFUSED"},
	{call: "sendmsg", errno: "ENOBUFS"},
	{call: "sendto", errno: "ENOBUFS"},
	{call: "recvmsg", errno: "ENOMEM"},
	{call: "getsockopt", errno: "ENOBUFS"},
	{call: "setsockopt", errno: "ENOBUFS"},
	{call: "getsockname", errno: "ENOBUFS"},
	{call: "fstat", errno: "EIO"},
	{call: "newfstatat", errno: "EACCES"},
	{call: "readlinkat", errno: "EACCES"},
	{call: "faccessat2", errno: "EACCES"},
	{call: "prctl", errno: "EPERM"},
	{call: "prlimit64", errno: "EPERM"},
	{call: "unshare", errno: "EPERM"},
	{call: "clone", errno: "EAGAIN"},
	{call: "clone3", errno: "EAGAIN"},
}

// ends are what the Go runtime says when it ends a program because a system call has
// failed. That is beyond the reach of an upgrade, and of any program in Go: before its
// main function nothing of the program runs, and later nothing of it is asked. It is so
// for
//
//   - a thread that cannot be made, by clone(2);
//   - the check of descriptors 0 to 2 at the start of every program, by fcntl(2);
//   - the poller that cannot be made, by epoll_create1(2) and eventfd2(2), at its first use;
//   - memory, by mmap(2), and signals, by rt_sigaction(2) and rt_sigprocmask(2), which are
//     not in the list above: the runtime does not even say why.
//
// In the old program the first two do not occur: it has all its threads. In the new
// program they do, and then the process ends. A service manager starts another master,
// with the listeners that it keeps; what was live ends as it does with every end of a
// master.
var ends = []string{
	"runtime: failed to create new OS thread",
	"runtime: unexpected error while checking standard file descriptor",
	"runtime: /dev/null opened at wrong fd",
	"runtime: failed to open",
	"runtime: epollcreate failed",
	"runtime: eventfd failed",
	"runtime: netpollBreak write failed",
}

// fewestPlaces is how many places there are at least, unless the trace is not understood.
const fewestPlaces = 20

// underTrace starts strace for all threads of a process, and of what it executes, and
// waits until it traces. The trace ends with the returned function.
func underTrace(t *testing.T, pid int, out string, args ...string) (end func()) {
	t.Helper()
	args = append([]string{"-f", "-o", out, "-p", strconv.Itoa(pid)}, args...)
	cmd := exec.Command(systest.Need(t, "strace"), args...)
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	attached := make(chan struct{})
	go func() {
		defer close(ended)
		once := false
		for lines := bufio.NewScanner(said); lines.Scan(); {
			// "strace: Process 17 attached with 12 threads"
			if !once && strings.Contains(lines.Text(), "attached") {
				once = true
				close(attached)
			}
		}
		cmd.Wait()
	}()
	select {
	case <-attached:
	case <-ended:
		t.Fatal("strace has not attached")
	case <-time.After(systest.Deadline()):
		t.Fatal("strace does not attach")
	}
	done := false
	end = func() {
		if !done {
			done = true
			cmd.Process.Signal(unix.SIGINT) // it detaches
			<-ended
		}
	}
	t.Cleanup(end)
	return end
}

// callLine is a line of a trace: pid, name of the call, arguments and result.
var callLine = regexp.MustCompile(`^(\d+) +([a-z0-9_]+)\((.*)$`)

// A place is a system call of an upgrade: the one with this number among those of its name
// that a thread makes.
type place struct {
	faulty
	when int
}

// placesOfUpgrade traces an upgrade, and returns the places at which faulties occur in it.
func placesOfUpgrade(t *testing.T) []place {
	t.Helper()
	here := install(t, versionOne)
	m, live, _ := plainMaster(t, here)
	here.replace(t, versionTwo)
	out := systest.Dir(t) + "/trace"
	end := underTrace(t, m.PID, out)
	upgradeTo(t, m, versionTwo, true)
	end()
	stillServes(t, m, live)
	live.Close()
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	type caller struct{ thread, call string }
	made := map[caller]int{}
	found := map[place]bool{}
	for line := range strings.Lines(string(text)) {
		match := callLine.FindStringSubmatch(strings.TrimSpace(line))
		if match == nil {
			continue
		}
		by := caller{match[1], match[2]}
		made[by]++
		for _, f := range faulties {
			if f.call == by.call && strings.Contains(match[3], f.argument) {
				found[place{f, made[by]}] = true
			}
		}
	}
	var places []place
	for _, f := range faulties {
		n := len(places)
		for when := 1; when <= mostPlaces; when++ {
			if found[place{f, when}] {
				places = append(places, place{f, when})
			}
		}
		t.Logf("%s %s %s: %d places", f.call, f.argument, f.errno, len(places)-n)
	}
	return places
}

// mostPlaces is how many calls of one name by one thread are tried. Those that an upgrade
// makes more often it makes in loops.
const mostPlaces = 40

// Whichever system call of an upgrade fails, and at whichever place, either the new
// program serves or the old one does: who was there is served on, who comes is served,
// and the process is the same.
func TestUpgradeSystemCallFaults(t *testing.T) {
	t.Parallel()
	if longRounds(t) == 0 {
		needtest.SkipAnywhere(t, "make upgrade-test does it: it takes minutes")
	}
	places := placesOfUpgrade(t)
	if len(places) < fewestPlaces {
		t.Fatalf("an upgrade makes only %d of the calls", len(places))
	}
	for _, p := range places {
		t.Run(fmt.Sprintf("%s %s %s %d", p.call, p.argument, p.errno, p.when), func(t *testing.T) {
			t.Parallel()
			p.try(t)
		})
	}
}

// try makes an upgrade with a fault, and another one without.
func (p place) try(t *testing.T) {
	here := install(t, versionOne)
	m, live, _ := plainMaster(t, here)
	m.StopSignal = unix.SIGQUIT // a fault may cost the program a descriptor that it could not close
	here.replace(t, versionTwo)
	out := systest.Dir(t) + "/trace"
	end := underTrace(t, m.PID, out, "-e", "trace="+p.call, "-e", fmt.Sprintf("inject=%s:error=%s:when=%d", p.call, p.errno, p.when))
	injected := func() []string {
		text, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return regexp.MustCompile(`(?m)^.*\(INJECTED\)$`).FindAllString(string(text), -1)
	}
	m.Signal(t, unix.SIGUSR2)
	// strace counts the calls of every thread for itself, and would make more than one
	// fail. So it ends with the first.
	systest.Until(t, "the upgrade is over", func() bool {
		if len(injected()) > 0 {
			end()
		}
		return len(m.Events(isOutcome)) > 0 || !systest.Alive(m.PID)
	}, nil)
	end()
	faults := injected()
	t.Logf("%d faults: %s", len(faults), strings.Join(faults, "\n"))
	if !systest.Alive(m.PID) {
		m.Killed = true
		m.WaitLogEnd(t)
		switch {
		case endedByRuntime(m):
		case len(faults) > 1:
			t.Log("the way back had a fault, too")
		default:
			t.Errorf("the process has ended:\n%s", m.Log())
		}
		return
	}
	s := looked(t, m).Master
	if s.PID != m.PID || s.State != "serving" {
		t.Errorf("%+v", s)
	}
	t.Logf("%s serves: %s", s.Version, m.Events(isOutcome)[0].Line)
	stillServes(t, m, live)
	// Whatever the fault has left, it is not in the way of the next upgrade.
	if s.Version == versionOne {
		upgradeTo(t, m, versionTwo, false)
		stillServes(t, m, live)
	}
	live.Close()
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
