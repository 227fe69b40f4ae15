package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
	"github.com/preforkd/preforkd/master/control"
)

// What the services of the load are for:
//
//	echo    the built-in handler with spares, in its box
//	reuse   a handler that is built on the SDK and serves several connections
//	cat     a program that is its connection's own
//	proxied a program that says which client the PROXY header has named
//	told    a program whose words on stderr go to the log, in halves of lines
//	victim  a program that clients kill with SIGKILL
//	lines   the same with a worker that serves several connections
//	guard   limits that nobody meets, and a penalty that one source has
//	boxed   a program in a strict box, where the machine has what that needs
const loadConfig = `[master]
metrics = %q
kill-delay = "5s"

[service.echo]
listen = ["127.0.0.1:0"]
handler = "echo"
spares = 2
max-connections = %s
max-connections-per-source = 1000

[service.reuse]
listen = ["127.0.0.1:0"]
handoff = "worker"
program = [%q, "echo"]
min-spares = 0
max-spares = 2
connections-per-worker = 5
max-connections-per-source = 1000

[service.cat]
listen = ["127.0.0.1:0"]
program = ["/bin/cat"]
max-connections-per-source = 1000

[service.proxied]
listen = ["127.0.0.1:0"]
program = ["/bin/sh", "-c", "echo $TCPREMOTEIP; exec cat"]
proxy-protocol = ["127.0.0.0/8"]
proxy-timeout = "1h"

[service.told]
listen = ["127.0.0.1:0"]
stderr = "log"
program = ["/bin/sh", "-c", 'while read -r word; do printf "%%s half " "$word" >&2; echo "$word"; read -r word || exit; echo "$word whole" >&2; echo "$word"; done']
max-connections-per-source = 1000

[service.victim]
listen = ["127.0.0.1:0"]
program = ["/bin/sh", "-c", "echo $$; exec cat"]
max-connections-per-source = 1000

[service.lines]
listen = ["127.0.0.1:0"]
handoff = "worker"
program = [%q, "lines"]
min-spares = 0
max-spares = 2
connections-per-worker = 3
max-connections-per-source = 1000

[service.guard]
listen = ["127.0.0.1:0"]
program = ["/bin/sh", "-c", "read word; exit $word"]
rate = "100000/s"
rate-per-source = "100000/s"
penalty-exit-codes = [7]
penalty = "10h"
penalty-max = "10h"
`

// boxedConfig is what is added where there can be strict boxes.
const boxedConfig = `
[service.boxed]
listen = ["127.0.0.1:0"]
program = ["/bin/cat"]
box.preset = "strict"
max-connections-per-source = 1000
`

// penalized is the source that the service guard refuses.
const penalized = "127.0.0.9"

// A load is clients of every kind at a master that must serve them all, whatever
// becomes of it meanwhile. Every client that finds anything wrong fails the test.
type load struct {
	t         *testing.T
	m         *systest.Master
	addresses map[string]string // by service
	metrics   string
	text      string // of the configuration, with a mark for the limit of echo

	stop    chan struct{}
	clients sync.WaitGroup
	kinds   []*client

	mu     sync.Mutex // guards what follows
	dialed map[string]uint64
	killed map[string]uint64 // workers, by service
	denied uint64            // connections of the penalized source
	lines  map[string]int    // that the service told has on stderr
}

// A client does the same thing again and again.
type client struct {
	name  string
	pause time.Duration                 // between two steps
	step  func(random *rand.Rand) error // one connection, one request, or one piece of a stream
	end   func() error                  // after the last step; nil where nothing is left
	steps atomic.Int64
}

// newLoad starts a master of an installation for a load. Every client has done its first
// step then, so that what is made when it is first needed is there.
func newLoad(t *testing.T, i installation) *load {
	t.Helper()
	metrics := held(t, 1)[0]
	worker := systest.Program(t, "cmd/internal/systest/testworker")
	services := 8
	text := fmt.Sprintf(loadConfig, metrics, limitMark, worker, worker)
	if boxesPossible() {
		services++
		text += boxedConfig
	}
	l := &load{
		t: t, metrics: metrics, text: text, stop: make(chan struct{}),
		addresses: map[string]string{}, dialed: map[string]uint64{}, killed: map[string]uint64{}, lines: map[string]int{},
	}
	l.m = systest.Options{Program: i.preforkd(), Config: l.config(500), Listeners: services}.Start(t)
	l.m.Spares = 2 + 2 + 2
	l.m.Boxed = os.Geteuid() == 0
	for _, listener := range l.m.Listeners {
		l.addresses[listener.Service] = listener.Address
	}
	if err := l.penalize(); err != nil {
		t.Fatal(err)
	}
	for _, c := range l.newClients() {
		err := c.step(rand.New(rand.NewPCG(1, 1)))
		if err == nil && c.end != nil {
			err = c.end()
		}
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
	}
	l.idle()
	l.m.Baseline(t)
	return l
}

// limitMark stands in the text of the configuration for the limit of echo.
const limitMark = "LIMIT"

// config returns the text of the configuration with this many connections for echo.
func (l *load) config(limit int) string {
	return strings.Replace(l.text, limitMark, strconv.Itoa(limit), 1)
}

// idle waits until no connection is left.
func (l *load) idle() {
	l.t.Helper()
	var s control.Status
	systest.Until(l.t, "no connection is live", func() bool {
		s = looked(l.t, l.m)
		return s.Master.Live == 0
	}, func() string { return fmt.Sprintf("%+v", s.Connections) })
}

// boxesPossible reports whether there can be a strict box.
func boxesPossible() bool {
	cmd := exec.Command("true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET}
	return cmd.Run() == nil
}

// newClients returns clients of all kinds that have done nothing yet.
func (l *load) newClients() []*client {
	const often, seldom = 2 * time.Millisecond, 40 * time.Millisecond
	clients := []*client{
		{name: "proxied", pause: often, step: l.slowHeader},
		{name: "told", pause: often, step: l.halfLines},
		{name: "victim", pause: seldom, step: func(*rand.Rand) error { return l.victim("victim", "") }},
		{name: "lines", pause: seldom, step: func(*rand.Rand) error { return l.victim("lines", "pid\n") }},
		{name: "guard", pause: seldom, step: func(*rand.Rand) error { return l.guard() }},
		{name: "penalty", pause: seldom, step: func(*rand.Rand) error { return l.denial() }},
		{name: "status", pause: seldom, step: l.statusReader()},
		{name: "scrape", pause: seldom, step: l.scraper()},
	}
	plain := []string{"echo", "reuse", "cat"}
	if l.addresses["boxed"] != "" {
		plain = append(plain, "boxed")
	}
	for _, service := range plain {
		clients = append(clients, &client{name: "short " + service, pause: often, step: func(random *rand.Rand) error { return l.short(service, random) }})
	}
	for _, service := range append(plain, "proxied") {
		clients = append(clients, l.stream(service))
	}
	return clients
}

// start starts the load.
func (l *load) start() {
	seed := rand.Uint64()
	l.t.Logf("the seed is %d", seed)
	l.kinds = l.newClients()
	for i, c := range l.kinds {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		l.clients.Go(func() {
			for {
				if err := c.step(random); err != nil {
					l.t.Errorf("%s, step %d: %v", c.name, c.steps.Load(), err)
					return
				}
				c.steps.Add(1)
				select {
				case <-l.stop:
					if c.end != nil {
						if err := c.end(); err != nil {
							l.t.Errorf("%s, at the end: %v", c.name, err)
						}
					}
					return
				case <-time.After(c.pause):
				}
			}
		})
	}
}

// more waits until every client has done n more steps.
func (l *load) more(n int64) {
	l.t.Helper()
	want := make([]int64, len(l.kinds))
	for i, c := range l.kinds {
		want[i] = c.steps.Load() + n
	}
	slowest := ""
	systest.Until(l.t, fmt.Sprintf("%d more steps of every client", n), func() bool {
		if l.t.Failed() {
			l.t.FailNow()
		}
		for i, c := range l.kinds {
			if done := c.steps.Load(); done < want[i] {
				slowest = fmt.Sprintf("%s has done %d steps of %d", c.name, done, want[i])
				return false
			}
		}
		return true
	}, func() string { return slowest })
}

// finish ends the load and holds the books of its clients to those of the master.
func (l *load) finish() {
	l.t.Helper()
	close(l.stop)
	l.clients.Wait()
	if l.t.Failed() {
		return
	}
	for _, c := range l.kinds {
		l.t.Logf("%s: %d steps", c.name, c.steps.Load())
	}
	l.idle()
	l.check(looked(l.t, l.m))
}

// check holds the books of the clients to those of the master, when nothing is live.
func (l *load) check(s control.Status) {
	l.t.Helper()
	for _, service := range s.Services {
		denied := uint64(0)
		if service.Name == "guard" {
			denied = l.denied
		}
		if service.Accepted != l.dialed[service.Name] || service.Refused != denied || service.Failed != 0 || service.Reaped != l.dialed[service.Name]-denied {
			l.t.Errorf("service %s: %d connections were made, %d to be refused; the master has %+v", service.Name, l.dialed[service.Name], denied, service.Counts)
		}
		if n := service.RefusedByReason["penalty"]; n != denied {
			l.t.Errorf("service %s: %d were refused for a penalty, want %d", service.Name, n, denied)
		}
		if n := exits(service, "SIGKILL"); n != l.killed[service.Name] {
			l.t.Errorf("service %s: %d workers were killed, %d by the master's account", service.Name, l.killed[service.Name], n)
		}
	}
	refused := l.m.Events(func(e systest.Event) bool { return e.Msg == systest.Refused && e.Service != "guard" })
	if len(refused) > 0 {
		l.t.Errorf("%d were refused: %s", len(refused), refused[0].Line)
	}
	// What was written to stderr may come after the end of the connection.
	systest.Until(l.t, "every line of stderr is in the log, once and whole", func() bool {
		return len(l.linesAmiss()) == 0
	}, func() string { return fmt.Sprintf("%q", l.linesAmiss()) })
}

// exits returns how many workers of a service have ended by a signal.
func exits(service control.Service, signal string) (n uint64) {
	for _, e := range service.Work.Exits {
		if e.Signal == signal {
			n += e.Count
		}
	}
	return n
}

// linesAmiss returns the lines of stderr of the service told that are not in the log
// as often as they were written.
func (l *load) linesAmiss() (amiss []string) {
	seen := map[string]int{}
	for _, e := range l.m.Events(func(e systest.Event) bool { return e.Msg == systest.Stderr && e.Service == "told" }) {
		seen[e.Written]++
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for line, n := range l.lines {
		if seen[line] != n {
			amiss = append(amiss, fmt.Sprintf("%d times, not %d: %s", seen[line], n, line))
		}
	}
	for line, n := range seen {
		if l.lines[line] == 0 {
			amiss = append(amiss, fmt.Sprintf("%d times, not 0: %s", n, line))
		}
	}
	return amiss
}
