package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// storm runs total clients, atOnce at a time, who say hello and expect it back,
// and returns the local addresses of those who were not served.
// served hears of each one's end.
func storm(t *testing.T, m *systest.Master, total, atOnce int, served chan<- struct{}) map[string]bool {
	t.Helper()
	var mu sync.Mutex
	failed := map[string]bool{}
	var next atomic.Int64
	var clients sync.WaitGroup
	for range atOnce {
		clients.Go(func() {
			for n := next.Add(1); n <= int64(total); n = next.Add(1) {
				c, err := m.TryDial()
				if err != nil {
					t.Error(err)
					return
				}
				if err := c.TryEcho(fmt.Sprintf("client %d\n", n)); err != nil {
					mu.Lock()
					failed[c.LocalAddr().String()] = true
					mu.Unlock()
					c.Conn.(interface{ SetLinger(int) error }).SetLinger(0)
				}
				c.Close()
				served <- struct{}{}
			}
		})
	}
	clients.Wait()
	return failed
}

// accounted holds that every connection has exactly one end in the log, after
// its accept, and returns by peer the events of those who were killed.
func accounted(t *testing.T, m *systest.Master, total int) map[string]systest.Event {
	t.Helper()
	m.WaitIdle(t)
	accepted, ends := map[string]systest.Event{}, map[string]int{}
	killed, has := map[string]systest.Event{}, map[string]int{}
	for _, e := range m.Events(func(e systest.Event) bool { return e.Conn != "" }) {
		switch e.Msg {
		case systest.Accepted:
			if _, twice := accepted[e.Conn]; twice {
				t.Errorf("accepted twice: %s", e.Line)
			}
			accepted[e.Conn] = e
			has[e.Conn] = e.PID
		case systest.Reassigned, systest.Reaped, systest.Ended, systest.SpawnFailed:
			if _, ok := accepted[e.Conn]; !ok {
				t.Errorf("before it was accepted: %s", e.Line)
			}
			if e.Msg == systest.Reassigned {
				has[e.Conn] = e.PID
				continue
			}
			// The last of the two events says whose exit this is.
			if e.Msg != systest.SpawnFailed && e.PID != has[e.Conn] {
				t.Errorf("the log has named worker %d: %s", has[e.Conn], e.Line)
			}
			if ends[e.Conn]++; ends[e.Conn] > 1 {
				t.Errorf("ended twice: %s", e.Line)
			}
			if e.Signal != "" {
				killed[accepted[e.Conn].Peer] = e
			} else if e.Msg == systest.SpawnFailed || e.Code() > 0 {
				t.Errorf("unexpected end: %s", e.Line)
			}
		}
	}
	if len(accepted) != total || len(ends) != total {
		t.Errorf("%d accepted and %d ended, want %d", len(accepted), len(ends), total)
	}
	return killed
}

// While somebody kills spares, idle ones and those that are just being given a
// connection, no connection is lost: each is served, but for those whose worker
// had said that it had them, and these are in the log with the signal. Over all
// kinds of workers there are ten thousand.
func TestKillSparesUnderLoad(t *testing.T) {
	for name, c := range map[string]struct {
		args  []string
		total int
	}{
		"builtin": {with("--spares 20", "echo"), 7000},
		"stdio":   {with("--spares 20", program("/bin/cat")...), 1000},
		"reuse":   {with("--spares 20 --connections-per-worker 5", "echo"), 2000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := systest.Start(t, c.args...)
			// One is killed for every so many connections: more often, and the
			// pauses between new spares leave none to kill.
			served := make(chan struct{}, c.total)
			var killer sync.WaitGroup
			kills := 0
			killer.Go(func() {
				n := 0
				for range served {
					if n++; n%20 != 0 {
						continue
					}
					// A child of the master is not reaped, and its number not
					// another's, for as long as it is seen as one; what is
					// killed in between is at worst another spare.
					pids := children(m.PID)
					for _, i := range rand.Perm(len(pids)) {
						if pid := pids[i]; !holdsConnection(pid) && isChild(pid, m.PID) && syscall.Kill(pid, syscall.SIGKILL) == nil {
							kills++
							break
						}
					}
				}
			})
			failed := storm(t, m, c.total, 50, served)
			close(served)
			killer.Wait()
			killed := accounted(t, m, c.total)
			for peer := range failed {
				if _, ok := killed[peer]; !ok {
					t.Errorf("the client %s was not served, and the log says nothing of it", peer)
				}
			}
			again := len(m.Events(systest.Is(systest.Reassigned)))
			t.Logf("%d kills, %d connections went to another worker, %d ended with theirs", kills, again, len(killed))
			if kills == 0 {
				t.Error("nothing was killed")
			}
		})
	}
}

// children returns the pids of a process's children, from all of its threads.
func children(pid int) []int {
	var pids []int
	threads, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, thread := range threads {
		data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, thread.Name()))
		for _, field := range strings.Fields(string(data)) {
			var child int
			if _, err := fmt.Sscan(field, &child); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids
}

func isChild(pid, parent int) bool {
	p, ok := systest.Stat(pid)
	return ok && p.Parent == parent && p.State != 'Z'
}

// holdsConnection reports whether a process looks like one that serves: it has
// a connection where a spare has /dev/null, or is no worker any more.
func holdsConnection(pid int) bool {
	target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/3", pid))
	return err != nil || target != "/dev/null"
}
