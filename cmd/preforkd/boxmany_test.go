package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
	"github.com/preforkd/preforkd/ipc/slowtest"
)

// What a master may keep of many boxes that are not used any more.
const (
	keptCells   = 32 + 2 // idle ones, and one more that is made or that ends
	keptThreads = 24     // of the runtime, which ends none
)

// firstUser begins the user ids of the boxes here, which no account has, and no other
// run of these tests.
var firstUser = 1_000_000_000 + os.Getpid()%100_000*4000

// many returns how many boxes there are at once: 2,000 where the machine can.
func many(t *testing.T) int {
	t.Helper()
	n := int(2000 / slowtest.Factor())
	if testing.Short() {
		n = min(n, 200)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	pids, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err != nil {
		t.Fatal(err)
	}
	max, err := strconv.Atoi(strings.TrimSpace(string(pids)))
	if err != nil {
		t.Fatal(err)
	}
	// Each has two processes, and the master two descriptors for it.
	return min(n, max/4, int(limit.Max)/4)
}

// startMany starts a master that has as many boxes at once and no more.
func startMany(t *testing.T, n int) *boxed {
	t.Helper()
	needBoxes(t)
	users := n + keptCells
	m := &boxed{Master: systest.Options{Config: fmt.Sprintf(`[service.x]
listen = ["127.0.0.1:0"]
program = ["/bin/cat"]
max-connections = %d
max-connections-per-source = 0
box.preset = "strict"
box.user-pool = "%d-%d"
`, n, firstUser, firstUser+users-1)}.Start(t)}
	c := m.Dial(t)
	c.Echo(t, "first\n")
	c.Close()
	m.WaitIdle(t)
	m.Baseline(t)
	return m
}

// connectMany opens connections to boxes that are alive at once.
func connectMany(t *testing.T, m *boxed, n int) []*systest.Client {
	t.Helper()
	clients, errs := make([]*systest.Client, n), make([]error, n)
	var all sync.WaitGroup
	slots := make(chan bool, 16)
	for i := range n {
		slots <- true
		all.Go(func() {
			defer func() { <-slots }()
			if clients[i], errs[i] = m.TryDial(); errs[i] == nil {
				errs[i] = clients[i].TryEcho(fmt.Sprintf("hello %d\n", i))
			}
		})
	}
	all.Wait()
	for _, c := range clients {
		if c != nil {
			t.Cleanup(func() { c.Close() })
		}
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return clients
}

func mounts(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// users returns the processes of users of the pool.
func users(n int) (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		var st unix.Stat_t
		if unix.Stat("/proc/"+e.Name(), &st) == nil && int(st.Uid) >= firstUser && int(st.Uid) < firstUser+n {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Two thousand boxes are alive at once, and afterwards nothing is left of them: no
// process, mount, namespace, user, thread or descriptor, but of a few idle cells. It
// is not parallel: others may make namespaces of the same numbers.
func TestTwoThousandBoxes(t *testing.T) {
	n := many(t)
	before := mounts(t)
	m := startMany(t, n)
	threads := systest.ReadStatus(m.PID).Threads
	for round := range 2 {
		clients := connectMany(t, m, n)
		p := m.Population()
		for _, kind := range []string{"mnt", "pid", "ipc", "net"} {
			have := 0
			for name := range p.Namespaces {
				if strings.HasPrefix(string(name), kind+":") {
					have++
				}
			}
			if have < n {
				t.Errorf("round %d: %d namespaces of kind %s for %d connections", round, have, kind, n)
			}
		}
		if in := len(users(n + keptCells)); in != n {
			t.Errorf("round %d: %d processes of the pool's users for %d connections", round, in, n)
		}
		// Each is served as well as the first, and another one is not.
		for _, c := range clients {
			c.Echo(t, "again\n")
		}
		for _, c := range clients {
			c.Close()
		}
		m.Parks = true // from the first round on
		m.WaitIdle(t)
		systest.Until(t, "without users of the pool", func() bool { return len(users(n+keptCells)) == 0 }, nil)
		var idle systest.Population
		systest.Until(t, "without cells but a few", func() bool {
			idle = m.Population()
			return len(idle.Processes) <= keptCells && len(idle.Namespaces) <= 5*keptCells
		}, func() string {
			return fmt.Sprintf("round %d: %d processes in %d namespaces", round, len(idle.Processes), len(idle.Namespaces))
		})
		if now := systest.ReadStatus(m.PID).Threads; now > threads+keptThreads {
			t.Errorf("round %d: %d threads, %d at the beginning", round, now, threads)
		}
		if round == 1 {
			m.Stop(t)
			p.WaitGone(t)
			idle.WaitGone(t)
		}
	}
	if after := mounts(t); !bytes.Equal(before, after) {
		t.Errorf("mounts before:\n%s\nafter:\n%s", before, after)
	}
}

// When the master is killed, the connections in boxes go on as those without do. Nothing
// stays when they have come to their end.
func TestBoxesEndWithTheMaster(t *testing.T) {
	n := many(t) / 4
	before := mounts(t)
	m := startMany(t, n)
	clients := connectMany(t, m, n)
	p := m.Population()
	m.Kill(t)
	for _, c := range clients {
		c.Echo(t, "without a master\n")
	}
	for _, c := range clients {
		c.Close()
	}
	p.WaitGone(t)
	if left := users(n + keptCells); len(left) > 0 {
		t.Errorf("processes of the pool's users: %v", left)
	}
	if after := mounts(t); !bytes.Equal(before, after) {
		t.Errorf("mounts before:\n%s\nafter:\n%s", before, after)
	}
}

// Somebody kills the first processes of cells, idle ones and those of connections,
// while connections come. Only those that were in such a cell are lost.
func TestBoxesWhoseFirstProcessIsKilled(t *testing.T) {
	t.Parallel()
	const connections, killed = 300, 60
	m := startMany(t, connections)
	// A cell of a connection: what is in it ends, and the client sees that.
	victims := connectMany(t, m, 10)
	for _, c := range m.Cells() {
		unix.Kill(c.PID, unix.SIGKILL)
	}
	for _, c := range victims {
		c.ExpectGone(t)
		if end := c.End(t); end.Signal != "SIGKILL" {
			t.Errorf("the end of one whose cell has ended: %s", end.Line)
		}
	}

	// Idle ones, as fast as they are made. A connection may have just been given one.
	stop, done := make(chan bool), make(chan int)
	go func() {
		n := 0
		defer func() { done <- n }()
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			cells := slices.DeleteFunc(m.Cells(), func(p systest.Process) bool { return isUsed(p.PID) })
			if len(cells) > 0 && n < killed {
				n++
				unix.Kill(cells[n%len(cells)].PID, unix.SIGKILL)
			}
		}
	}()
	lost, served := 0, 0
	for range connections {
		c := m.Dial(t)
		err := c.TryEcho("hello\n")
		if err == nil {
			served++
		} else {
			lost++
		}
		c.Close()
	}
	close(stop)
	n := <-done
	t.Logf("%d cells killed, %d connections served, %d lost", n, served, lost)
	if n == 0 || lost > n {
		t.Errorf("%d connections lost with %d cells", lost, n)
	}
	for _, e := range m.Events(systest.Is(systest.SpawnFailed)) {
		// One that was killed while it was made for a connection is lost with it.
		if !strings.HasPrefix(e.Error, "make a cell: ") {
			t.Errorf("a connection had no box: %s", e.Line)
		}
	}
	m.WaitIdle(t)
	for range 5 {
		m.Dial(t).Echo(t, "still here\n")
	}
}

// isUsed reports whether there is another process in a cell. Its first one is the
// parent of none: the others are children of the master or of their own parents.
func isUsed(first int) bool {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/root/proc", first))
	if err != nil {
		return true
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid != 1 {
			return true
		}
	}
	return false
}
