package main

import (
	"fmt"
	"sync"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// Two thousand connections leave no zombie and no descriptor. The checks are
// those at the end of every test.
func TestTwoThousandConnections(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{"worker": {"echo"}, "stdio": program("/bin/cat")} {
		t.Run(name, func(t *testing.T) {
			const total, atOnce = 2000, 16
			m := systest.Start(t, args...)
			jobs := make(chan int)
			var clients sync.WaitGroup
			for range atOnce {
				clients.Go(func() {
					for i := range jobs {
						c, err := m.TryDial()
						if err != nil {
							t.Error(err)
							continue
						}
						if err := c.TryEcho(fmt.Sprintf("client %d\n", i)); err != nil {
							t.Errorf("client %d: %v", i, err)
						}
						c.Close()
					}
				})
			}
			for i := range total {
				jobs <- i
			}
			close(jobs)
			clients.Wait()
			m.WaitIdle(t)
			conns := map[string]bool{}
			for _, e := range m.Wait(t, total, systest.Is(systest.Reaped)) {
				if conns[e.Conn] || e.Code() != 0 || e.Signal != "" {
					t.Errorf("unexpected end: %s", e.Line)
				}
				conns[e.Conn] = true
			}
			if len(conns) != total {
				t.Errorf("%d connections were reaped, want %d", len(conns), total)
			}
		})
	}
}

// startBurst starts a master with n programs that live until their client goes.
func startBurst(t *testing.T, n int) (*systest.Master, []*systest.Client) {
	t.Helper()
	m := systest.Start(t, append([]string{"--max-connections", "600"}, program("/bin/cat")...)...)
	m.Parks = true // where it takes more than a second until all of them are there
	clients := m.DialAll(t, n)
	for _, c := range clients {
		c.Echo(t, "x")
	}
	return m, clients
}

// onceEach holds that n workers were reaped, each once, all in the given way.
func onceEach(t *testing.T, m *systest.Master, n int, good func(systest.Event) bool) {
	t.Helper()
	m.Wait(t, n, systest.Is(systest.Reaped))
	m.WaitIdle(t)
	conns, pids := map[string]bool{}, map[int]bool{}
	for _, e := range m.Events(systest.Is(systest.Reaped)) {
		if conns[e.Conn] || pids[e.PID] {
			t.Errorf("reported again: %s", e.Line)
		}
		conns[e.Conn], pids[e.PID] = true, true
		if !good(e) {
			t.Errorf("unexpected end: %s", e.Line)
		}
	}
	if len(conns) != n {
		t.Errorf("%d of %d were reported", len(conns), n)
	}
}

// Five hundred programs end at once.
func TestBurstOfExits(t *testing.T) {
	m, clients := startBurst(t, 500)
	for _, c := range clients {
		c.Close()
	}
	onceEach(t, m, 500, func(e systest.Event) bool { return e.Code() == 0 && e.Signal == "" })
}

// Five hundred programs are dead before the master can look: a signal that is
// pending already is not queued again, so it hears of one SIGCHLD.
func TestCoalescedSIGCHLD(t *testing.T) {
	m, _ := startBurst(t, 500)
	m.Signal(t, syscall.SIGSTOP)
	systest.Until(t, "a master that stands still", func() bool {
		p, _ := systest.Stat(m.PID)
		return p.State == 'T'
	}, nil)
	children := systest.Children(m.PID)
	if len(children) != 500 {
		t.Errorf("%d children", len(children))
	}
	for _, p := range children {
		if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	}
	systest.Until(t, "500 zombies", func() bool {
		for _, p := range children {
			if systest.Alive(p.PID) {
				return false
			}
		}
		return true
	}, nil)
	m.Signal(t, syscall.SIGCONT)
	onceEach(t, m, 500, func(e systest.Event) bool { return e.Signal == "SIGKILL" })
}

// What the log says of a worker's end is how it ended.
func TestEndIsReported(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		script string
		code   int
		signal string
	}{
		{"exit 0", 0, ""},
		{"exit 1", 1, ""},
		{"exit 7", 7, ""},
		{"exit 255", 255, ""},
		{"kill -SEGV $$", 0, "SIGSEGV"},
		{"kill -TERM $$", 0, "SIGTERM"},
		{"kill -KILL $$", 0, "SIGKILL"},
		{"kill -USR1 $$", 0, "SIGUSR1"},
	} {
		t.Run(c.script, func(t *testing.T) {
			t.Parallel()
			m := systest.Start(t, program(sh(c.script)...)...)
			client := m.Dial(t)
			client.ExpectGone(t)
			end := client.End(t)
			if end.Signal != c.signal || c.signal == "" && end.Code() != c.code {
				t.Errorf("want code %d, signal %q: %s", c.code, c.signal, end.Line)
			}
			if end.PID <= 1 || end.Duration == nil || end.UserTime == nil || end.SysTime == nil || end.MaxRSS == nil {
				t.Fatalf("fields are missing: %s", end.Line)
			}
			// A program of any kind has at least a few pages and at most this
			// machine's memory: bytes, not kibibytes.
			if *end.MaxRSS < 100<<10 || *end.Duration < 0 {
				t.Errorf("impossible values: %s", end.Line)
			}
			if end.Service != m.Listeners[0].Service || end.Peer == "" {
				t.Errorf("fields are missing: %s", end.Line)
			}
		})
	}
}

// CPU time and memory are those of the worker.
func TestUsageIsReported(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, program(sh(`i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done`)...)...)
	busy := m.Dial(t)
	busy.ExpectGone(t)
	if end := busy.End(t); *end.UserTime+*end.SysTime <= 0 || *end.UserTime+*end.SysTime > 2**end.Duration+1 {
		t.Errorf("impossible CPU time: %s", end.Line)
	}
}

// A worker that crashes hurts nobody but its own client.
func TestCrashStaysAlone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args   []string
		signal syscall.Signal
		want   string
	}{
		"program": {program("/bin/cat"), syscall.SIGSEGV, "SIGSEGV"},
		"builtin": {[]string{"echo"}, syscall.SIGKILL, "SIGKILL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := systest.Start(t, c.args...)
			clients := m.DialAll(t, 5)
			for _, client := range clients {
				client.Echo(t, "before")
			}
			victim := clients[2]
			if err := syscall.Kill(victim.Worker(t), c.signal); err != nil {
				t.Fatal(err)
			}
			victim.ExpectGone(t)
			if end := victim.End(t); end.Signal != c.want {
				t.Errorf("want %s: %s", c.want, end.Line)
			}
			for i, client := range append(clients, m.Dial(t)) {
				if i != 2 {
					client.Echo(t, "after")
				}
			}
			if n := len(m.Events(systest.Is(systest.Reaped))); n != 1 {
				t.Errorf("%d workers ended", n)
			}
		})
	}
}

// Children that the master did not start, here one that it inherited by exec,
// are reaped and are nobody's connection.
func TestStrayChild(t *testing.T) {
	t.Parallel()
	gate := systest.NewGate(t)
	m := systest.Options{
		Wrap: sh(`(exec 2>&-; read go < `+gate.Path+`; exit 9) & exec "$@"`, "sh"),
		Args: []string{"echo"},
	}.Start(t)
	strays := systest.Children(m.PID)
	if len(strays) != 1 {
		t.Fatalf("the master has children %+v", strays)
	}
	c := m.Dial(t)
	c.Echo(t, "before")
	gate.Open(t)
	systest.Until(t, "a reaped stray", func() bool { _, there := systest.Stat(strays[0].PID); return !there }, nil)
	c.Echo(t, "after")
	for _, e := range m.Events(systest.Is(systest.Reaped)) {
		if e.PID == strays[0].PID {
			t.Errorf("a stray is reported as a worker: %s", e.Line)
		}
	}
}

// A grandchild that holds everything the worker had, its control channel
// included, keeps neither the slot nor the report waiting.
func TestGrandchildHoldsDescriptors(t *testing.T) {
	t.Parallel()
	for _, handoff := range []string{"worker", "stdio"} {
		t.Run(handoff, func(t *testing.T) {
			t.Parallel()
			m := systest.Start(t, "--max-connections", "1", "--kill-delay", "1h", "--handoff", handoff, "--", "/bin/sh", "-c", "sleep 1000 & exit 5")
			for range 3 {
				c := m.Dial(t)
				if end := c.End(t); end.Code() != 5 {
					t.Errorf("want code 5: %s", end.Line)
				}
			}
			m.Signal(t, syscall.SIGTERM)
			if code := m.WaitExit(t); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// Where many live, those that end are found all the same: the young ones at
// once, the old ones with them in the middle, and all of them at the end.
func TestReapAmongMany(t *testing.T) {
	t.Parallel()
	const many = 700
	m := systest.Start(t, append([]string{"--max-connections", "1000"}, program("cat")...)...)
	m.Parks = true
	old := m.DialAll(t, many)
	for _, c := range old {
		c.Echo(t, "here\n")
	}
	for i := range 100 {
		c := m.Dial(t)
		c.Echo(t, "short\n")
		c.Close()
		old[i].Close()
		c.End(t)
		old[i].End(t)
	}
	for _, c := range old[100:] {
		c.Close()
	}
}

// At the limit, whoever waits for a slot gets that of an old connection, which
// is found later than a young one.
func TestReapAmongManyAtTheLimit(t *testing.T) {
	t.Parallel()
	const many = 600
	m := systest.Start(t, append([]string{"--max-connections", fmt.Sprint(many), "--overflow", "wait"}, program("cat")...)...)
	m.Parks = true
	old := m.DialAll(t, many)
	for _, c := range old {
		c.Echo(t, "here\n")
	}
	for i := range 20 {
		c := m.Dial(t)
		old[i].Close()
		c.Echo(t, "at last\n")
		old[i].End(t)
		old[i] = c
	}
	for _, c := range old {
		c.Close()
	}
}
