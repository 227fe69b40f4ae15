package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// restful holds that the master uses little of a CPU while it can do nothing. A
// loop without a pause uses all of one, so half of one is far from either.
func restful(t *testing.T, m *systest.Master) {
	t.Helper()
	const window = 1500 * time.Millisecond // of CPU time's clock, which ticks every 10 ms
	before, _ := systest.Stat(m.PID)
	begin := time.Now()
	time.Sleep(window)
	after, _ := systest.Stat(m.PID)
	used := time.Duration(after.Ticks-before.Ticks) * 10 * time.Millisecond
	if elapsed := time.Since(begin); used > elapsed/2 {
		t.Errorf("the master used %v of CPU time in %v of having nothing to do", used, elapsed)
	}
}

// inTurn expects the answer of every client in turn, closing each to make room
// for the next. Those whose worker could not be started are counted.
func inTurn(t *testing.T, clients []*systest.Client) (served, failed int) {
	t.Helper()
	for _, c := range clients {
		if got := make([]byte, 5); readFull(c, got) && string(got) == "hello" {
			served++
		} else {
			failed++
		}
		c.Close()
	}
	return served, failed
}

// lower lowers a master's limit of descriptors and returns what undoes it.
func lower(t *testing.T, m *systest.Master, soft uint64) (restore func()) {
	t.Helper()
	before, err := systest.Limit(m.PID, unix.RLIMIT_NOFILE)
	if err != nil {
		t.Fatal(err)
	}
	set := func(soft uint64) {
		if err := systest.SetSoftLimit(m.PID, unix.RLIMIT_NOFILE, soft); err != nil {
			t.Fatal(err)
		}
	}
	set(soft)
	return func() { set(before.Cur) }
}

// Out of descriptors, the master rests, keeps what it has, and goes on as soon
// as there are some.
func TestFewDescriptors(t *testing.T) {
	t.Parallel()
	for name, low := range map[string]struct {
		wrap []string
		set  func(t *testing.T, m *systest.Master) (restore func())
	}{
		"at start": {wrap: sh(`ulimit -n 40; exec "$@"`, "sh")},
		"while running": {set: func(t *testing.T, m *systest.Master) func() {
			return lower(t, m, 40)
		}},
		// Below what is open already: not even the first client can be taken.
		"to nothing": {set: func(t *testing.T, m *systest.Master) func() {
			return lower(t, m, 3)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := systest.Options{Wrap: low.wrap, Args: []string{"echo"}}.Start(t)
			restore := func() {}
			if low.set != nil {
				restore = low.set(t, m)
			}
			clients := m.DialAll(t, 60)
			for _, c := range clients {
				c.Send(t, "hello")
			}
			// Each worker costs the master a control channel, and some are
			// needed to make another.
			last, still := -1, 0
			systest.Until(t, "a master that makes no worker any more", func() bool {
				if n := len(m.Events(anyEvent)); n != last {
					last, still = n, 0
				} else {
					still++
				}
				return still > 50
			}, nil)
			starved := len(systest.Children(m.PID))
			if starved >= 60 {
				t.Fatal("there was no shortage")
			}
			restful(t, m)
			if name == "to nothing" {
				restore()
			}
			served, failed := inTurn(t, clients)
			t.Logf("%d at once, %d served, %d failed to spawn", starved, served, failed)
			m.Wait(t, failed, systest.Is(systest.SpawnFailed))
			if n := len(m.Events(systest.Is(systest.SpawnFailed))); n != failed {
				t.Errorf("%d clients lost their connection, %d of them by the log", failed, n)
			}
			m.Dial(t).Echo(t, "after")
			restore()
			m.Dial(t).Echo(t, "restored")
		})
	}
}

// Out of processes, the master loses the connections that it cannot serve and
// nothing else, and serves again as soon as it can.
func TestFewProcesses(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t) // to become a user that owns nothing else; root is exempt from the limit
	prlimit := systest.Need(t, "prlimit")
	next := uint32(700_000 + 8*os.Getpid())
	for name, args := range map[string][]string{
		"worker": {"echo"}, "stdio": program("/bin/cat"),
		// The shortage comes before the first client: the master has yet to
		// make threads of its own, without which Go gives up.
		"cold worker": {"echo"}, "cold stdio": program("/bin/cat"),
	} {
		next++
		user := next // each its own: what one has, the others lack
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			as := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
			m := systest.Options{
				Attr: as,
				Args: args,
			}.Start(t)
			m.WorkersCrash = true // as Go programs do that get no thread
			if !strings.HasPrefix(name, "cold") {
				for _, c := range m.DialAll(t, 10) {
					c.Echo(t, "hello")
					c.Close()
				}
				m.WaitIdle(t)
			}
			// The kernel counts threads, those of the master included, and a
			// worker in Go has some five. Root without CAP_SYS_RESOURCE may not
			// set the limits of other users.
			soft := systest.ReadStatus(m.PID).Threads + 30
			limit := exec.Command(prlimit, "--pid", fmt.Sprint(m.PID), fmt.Sprintf("--nproc=%d:", soft))
			limit.SysProcAttr = as
			if out, err := limit.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			clients := m.DialAll(t, 40)
			for _, c := range clients {
				c.SetWriteDeadline(time.Now().Add(systest.Deadline()))
				c.Write([]byte("hello")) // it may be closed already
			}
			m.WaitFor(t, systest.Is(systest.SpawnFailed))
			restful(t, m)
			served, failed := inTurn(t, clients)
			t.Logf("%d served, %d failed to spawn", served, failed)
			if served == 0 {
				t.Error("none was served")
			}
			m.WaitIdle(t)
			m.Dial(t).Echo(t, "after")
		})
	}
}

// Where there is not even a thread to be had the master goes on, although Go
// ends a program that needs one: it has them from the start.
func TestNoThreads(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t) // as above
	prlimit := systest.Need(t, "prlimit")
	user := uint32(900_000 + os.Getpid())
	as := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
	m := systest.Options{Attr: as, Args: program("/bin/cat")}.Start(t)
	m.LossyLog = true
	limitProcesses := func(soft string) {
		t.Helper()
		limit := exec.Command(prlimit, "--pid", fmt.Sprint(m.PID), "--nproc="+soft+":")
		limit.SysProcAttr = as
		if out, err := limit.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	var before unix.Rlimit // the master has inherited it
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &before); err != nil {
		t.Fatal(err)
	}
	limitProcesses(fmt.Sprint(systest.ReadStatus(m.PID).Threads))
	m.PauseLog() // a log that waits holds a thread
	for _, c := range m.DialAll(t, 40) {
		c.Close()
	}
	for range 50 {
		m.Signal(t, syscall.SIGUSR1)
		time.Sleep(time.Millisecond) // the kernel keeps one at a time
	}
	m.ResumeLog()
	m.WaitFor(t, systest.Is(systest.SpawnFailed))
	limitProcesses(fmt.Sprint(before.Cur))
	systest.Until(t, "serving again", func() bool {
		c, err := m.TryDial()
		if err != nil {
			return false
		}
		defer c.Close()
		return c.TryEcho("hello") == nil
	}, nil)
}

// An interrupted or aborted accept is nobody's business but the client's, even
// when strace makes accepts fail as the kernel would.
func TestAcceptErrors(t *testing.T) {
	t.Parallel()
	strace := systest.Need(t, "strace")
	for _, errno := range []string{"ECONNABORTED", "EPROTO", "ENETDOWN", "EHOSTUNREACH", "EMFILE", "ENFILE", "ENOMEM", "ENOBUFS", "EPERM", "EINTR"} {
		t.Run(errno, func(t *testing.T) {
			t.Parallel()
			out := systest.Dir(t) + "/trace"
			m := systest.Options{
				// -D leaves the master the process that the test started.
				Wrap: []string{strace, "-D", "-f", "-qq", "-o", out, "-e", "trace=accept4",
					"-e", fmt.Sprintf("inject=accept4:error=%s:when=1..4", errno)},
				Args: program("/bin/cat"),
			}.Start(t)
			for range 3 {
				c := m.Dial(t)
				c.Echo(t, "hello")
				c.Close()
				c.End(t)
			}
			trace, err := os.ReadFile(out)
			if err != nil || !strings.Contains(string(trace), "(INJECTED)") {
				t.Errorf("nothing was injected: %v\n%s", err, trace)
			}
		})
	}
}

func readFull(c *systest.Client, p []byte) bool {
	for n := 0; n < len(p); {
		k, err := c.Read(p[n:])
		if n += k; err != nil {
			return n == len(p)
		}
	}
	return true
}
