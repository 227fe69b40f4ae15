package accept

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/slowtest"
	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/endpoints"
	"github.com/preforkd/preforkd/master/linger"
	"github.com/preforkd/preforkd/master/redact"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/service/servicetest"
)

// A stage is an Acceptor with real listeners and clients, and without a process:
// it is the Dispatcher, and keeps the connections that it is given.
type stage struct {
	*testing.T
	a        *Acceptor
	set      *endpoints.Set
	spec     *service.Spec
	logs     *observer.ObservedLogs
	stopping chan struct{}
	given    chan *service.Connection

	mu   sync.Mutex
	err  error         // of the next dispatches
	hold chan struct{} // until it is closed, Dispatch does not return
}

func (st *stage) Dispatch(c *service.Connection) error {
	st.mu.Lock()
	err, hold := st.err, st.hold
	st.mu.Unlock()
	st.given <- c
	if hold != nil {
		<-hold
	}
	return err
}

func (st *stage) AwaitDescriptors() bool { return false }

func (st *stage) fail(err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.err = err
}

func newStage(t *testing.T, keys string) *stage {
	t.Helper()
	return newStageAt(t, "127.0.0.1:0", keys)
}

func newStageAt(t *testing.T, address, keys string) *stage {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	st := &stage{T: t, logs: logs, stopping: make(chan struct{}), given: make(chan *service.Connection, 100)}
	closer, err := linger.New()
	if err != nil {
		t.Fatal(err)
	}
	go closer.Run()
	t.Cleanup(closer.End)
	st.a = New(Config{Dispatcher: st, IDs: service.NewIDs(time.Now()), Redact: &redact.Policy{}, Linger: closer, Stopping: st.stopping})
	st.spec = servicetest.Specs(t, "[service.test]\nlisten = ['"+address+"']\nprogram = ['/bin/cat']\n"+keys)[0]
	s := service.New("test", st.spec.Policy(), zap.New(core))
	s.SetOwner(st.spec)
	s.Install(st.spec, time.Now())
	st.set = endpoints.NewSet(nil, false, zap.New(core))
	p, err := st.set.Plan([]*service.Spec{st.spec})
	if err != nil {
		t.Fatal(err)
	}
	st.set.Commit(p)
	for _, l := range p.Opened {
		st.a.Start(l)
	}
	t.Cleanup(func() {
		st.stop()
		close(st.given)
		for c := range st.given {
			c.File.Close()
		}
	})
	return st
}

// stop stops accepting and waits for that.
func (st *stage) stop() {
	select {
	case <-st.stopping:
	default:
		close(st.stopping)
	}
	st.set.CloseAll()
	st.a.Stop()
	st.a.Wait()
}

func (st *stage) dial() *net.TCPConn {
	st.Helper()
	return st.connect(st.set.All()[0].Local()).(*net.TCPConn)
}

// connect connects to the listener, over TCP or a unix socket.
func (st *stage) connect(address string) net.Conn {
	st.Helper()
	network := "tcp"
	if path, isUnix := strings.CutPrefix(address, "unix:"); isUnix {
		network, address = "unix", path
	} else {
		address = st.set.All()[0].Local()
	}
	conn, err := net.Dial(network, address)
	if err != nil {
		st.Fatal(err)
	}
	st.Cleanup(func() { conn.Close() })
	return conn
}

// refused waits until so many connections were refused for a reason.
func (st *stage) refused(reason admit.Reason, n uint64) {
	st.Helper()
	for deadline := time.Now().Add(slowtest.Scale(time.Minute)); ; time.Sleep(time.Millisecond) {
		counts := st.spec.Owner().Gate.Counts()
		if counts.Refused[reason] == n && counts.Total() == n {
			return
		}
		if time.Now().After(deadline) {
			st.Fatalf("refused %v, want %d for %v", counts.Refused, n, reason)
		}
	}
}

// An admitted connection goes to the dispatcher with its slot, its id and who it
// is.
func TestAdmitted(t *testing.T) {
	st := newStage(t, "max-connections = 2\n")
	client := st.dial()
	c := <-st.given
	if got := c.PeerName(); got != client.LocalAddr().String() || c.ID == "" || c.Spec != st.spec || c.Slot == nil || c.Local != client.RemoteAddr().String() {
		t.Errorf("%s, %+v", got, c)
	}
	other := <-func() chan *service.Connection { st.dial(); return st.given }()
	if other.ID == c.ID {
		t.Errorf("two connections are %s", c.ID)
	}
	// All slots are taken: the third one waits in the kernel's queue.
	st.dial()
	select {
	case c := <-st.given:
		t.Fatalf("%s has no slot", c.ID)
	case <-time.After(20 * time.Millisecond):
	}
	st.spec.Owner().Gate.Release(c.Slot, time.Now())
	c.File.Close()
	third := <-st.given
	third.File.Close()
	other.File.Close()
	if totals := st.spec.Owner().Totals(); totals.Accepted != 3 || totals.Refused != 0 {
		t.Errorf("%+v", totals)
	}
	for range st.logs.FilterMessage("listening").All() {
		return
	}
	t.Error("the log does not say that it listens")
}

// A refused client is told why if the service says so, is counted by reason, and
// logged at a bounded rate.
func TestRefused(t *testing.T) {
	st := newStage(t, "deny = ['127.0.0.1']\nrefuse-message = 'go away'\n")
	const clients = 30
	for range clients {
		client := st.dial()
		if _, err := client.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(client); string(got) != "go away" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		client.Close()
	}
	st.refused(admit.Denied, clients)
	if n := st.logs.FilterMessage("refused").Len(); n == 0 || n >= clients {
		t.Errorf("%d of %d refusals are logged", n, clients)
	}
}

const proxied = "proxy-protocol = ['127.0.0.1']\nproxy-timeout = '30s'\n"

// A connection from a proxy has no slot before its header has come, and is then
// its client's.
func TestProxyHeader(t *testing.T) {
	st := newStage(t, proxied+"max-connections = 1\ndeny = ['203.0.113.0/24']\n")
	silent := st.dial()
	client := st.dial()
	fmt.Fprintf(client, "PROXY TCP4 198.51.100.7 192.0.2.1 4711 80\r\n")
	c := <-st.given
	if got := c.PeerName(); got != "198.51.100.7:4711" || c.ViaName() != client.LocalAddr().String() {
		t.Errorf("%s via %s", got, c.ViaName())
	}
	st.spec.Owner().Gate.Release(c.Slot, time.Now())
	c.File.Close()
	denied := st.dial()
	fmt.Fprintf(denied, "PROXY TCP4 203.0.113.7 192.0.2.1 4711 80\r\n")
	st.refused(admit.Denied, 1)
	fmt.Fprintf(silent, "GET / HTTP/1.0\r\n\r\n")
	for st.spec.Owner().Gate.Counts().Refused[admit.ProxyMissing]+st.spec.Owner().Gate.Counts().Refused[admit.ProxyMalformed] != 1 {
		time.Sleep(time.Millisecond)
	}
}

// Too many that wait for a header make room, the longest waiting first.
func TestProxyQueueMakesRoom(t *testing.T) {
	st := newStage(t, proxied)
	first := st.dial()
	for q := st.a.queues.of(st.spec.Owner()); ; time.Sleep(time.Millisecond) {
		q.mu.Lock()
		n := len(q.readers)
		q.mu.Unlock()
		if n == 1 { // it is the oldest, whichever goroutine accepts the next ones
			break
		}
	}
	for range maxProxyQueue {
		st.dial()
	}
	st.refused(admit.ProxyCrowded, 1)
	if _, err := first.Read(make([]byte, 1)); err == nil || errors.Is(err, net.ErrClosed) {
		t.Errorf("the first one read %v", err)
	}
}

// Nobody is admitted to a service that drains: neither who waits for a PROXY
// header, nor whose header comes then, nor who waits for a slot. Once the service
// is back, connections are admitted again.
func TestDrainRefusesWhoWaits(t *testing.T) {
	st := newStage(t, proxied+"max-connections = 1\n")
	s := st.spec.Owner()
	header := "PROXY TCP4 198.51.100.7 192.0.2.1 4711 80\r\n"
	holder, waiting, silent := st.dial(), st.dial(), st.dial()
	for s.Ledger.Totals(0).Accepted != 3 {
		time.Sleep(time.Millisecond)
	}
	fmt.Fprint(holder, header)
	c := <-st.given
	fmt.Fprint(waiting, header) // waits for a slot from now on
	for q := st.a.queues.of(s); ; time.Sleep(time.Millisecond) {
		q.mu.Lock()
		n := len(q.readers)
		q.mu.Unlock()
		if n == 1 { // the silent one
			break
		}
	}
	s.Drain()
	st.a.Drain(s)
	st.refused(admit.Draining, 2)
	for _, client := range []*net.TCPConn{waiting, silent} {
		if n, err := client.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("read %d bytes, %v", n, err)
		}
	}
	s.Gate.Release(c.Slot, time.Now())
	c.File.Close()
	late := st.dial() // was in the kernel's queue, say
	fmt.Fprint(late, header)
	st.refused(admit.Draining, 3)

	s.Install(st.spec, time.Now())
	st.a.Resume(s)
	again := st.dial()
	fmt.Fprint(again, header)
	c = <-st.given
	c.File.Close()
}

// A master that stops refuses whoever waits, and Wait ends.
func TestStopRefusesWhoWaits(t *testing.T) {
	st := newStage(t, proxied+"max-connections = 1\n")
	st.dial()
	for st.spec.Owner().Ledger.Totals(0).Accepted != 1 {
		time.Sleep(time.Millisecond)
	}
	st.stop()
	st.refused(admit.Draining, 1)
}

// What no worker could be started for makes the listener wait, with one warning
// however many goroutines accept, and says when it has passed.
func TestExhaustionOfStarts(t *testing.T) {
	st := newStage(t, "max-connections = 100\n")
	st.fail(fmt.Errorf("fork: %w", unix.EAGAIN))
	st.dial()
	first := <-st.given
	first.File.Close()
	for st.spec.Owner().Ledger.Shortage().IsZero() {
		time.Sleep(time.Millisecond)
	}
	st.fail(nil)
	st.dial()
	(<-st.given).File.Close()
	for st.logs.FilterMessage("accept recovered").Len() != 1 {
		time.Sleep(time.Millisecond)
	}
}

// All goroutines of a listener share one back-off: however many meet a shortage
// at once, the pause grows once and one of them is the first.
func TestExhaustion(t *testing.T) {
	var e exhaustion
	now := time.Now()
	if e.passed() {
		t.Error("nothing was met")
	}
	firsts, before := 0, time.Duration(0)
	for step := range 5 {
		var longest time.Duration
		for range 16 {
			wait, first := e.met(now)
			if first {
				firsts++
			}
			longest = max(longest, wait)
		}
		if longest <= before || longest > 16*5*time.Millisecond {
			t.Errorf("step %d: %v after %v", step, longest, before)
		}
		before, now = longest, now.Add(longest)
	}
	if firsts != 1 || !e.passed() || e.passed() {
		t.Errorf("%d were the first", firsts)
	}
	if wait, first := e.met(now); !first || wait != 5*time.Millisecond {
		t.Errorf("after a success: %v, first %v", wait, first)
	}
}

func TestPerListener(t *testing.T) {
	if n := New(Config{OneConnection: true}).perListener(); n != 1 {
		t.Errorf("%d goroutines for one connection", n)
	}
	if n := New(Config{}).perListener(); n < 2 {
		t.Errorf("%d goroutines: a program that is slow to start leaves nobody to accept", n)
	}
}

// One goroutine waits at first. Whoever leaves nobody behind has another one
// started, up to the limit, and two stay.
func TestCrew(t *testing.T) {
	c := crew{limit: 4, size: 1}
	for i, want := range []bool{true, true, true, false} {
		if start := c.busy(); start != want {
			t.Errorf("connection %d: another one is started: %v, want %v", i+1, start, want)
		}
	}
	if c.size != 4 || c.serving != 4 {
		t.Errorf("%d goroutines, %d serve", c.size, c.serving)
	}
	for i, want := range []bool{true, true, false, false} {
		if stay := c.free(); stay != want {
			t.Errorf("end %d: it stays: %v, want %v", i+1, stay, want)
		}
	}
	for range 10 { // one client after the other
		if c.busy() {
			t.Error("another one is started while one waits")
		}
		if !c.free() {
			t.Error("one of two ends")
		}
	}
	if c.size != maxFree || c.serving != 0 {
		t.Errorf("%d goroutines, %d serve", c.size, c.serving)
	}
}

// A listener that nobody uses has one goroutine, and one that is in use accepts
// while as many connections as allowed are being served.
func TestCrewOfAListener(t *testing.T) {
	st := newStage(t, "")
	goroutines := func() int {
		n := 0
		stacks := make([]byte, 1<<20)
		for _, stack := range bytes.Split(stacks[:runtime.Stack(stacks, true)], []byte("\n\n")) {
			if bytes.Contains(stack, []byte("(*Acceptor).accept(")) {
				n++
			}
		}
		return n
	}
	if n := goroutines(); n > 1 {
		t.Errorf("%d goroutines accept from a listener that nobody has used", n)
	}
	most := st.a.perListener()
	hold := make(chan struct{})
	st.mu.Lock()
	st.hold = hold
	st.mu.Unlock()
	for range most {
		st.dial()
	}
	for range most { // each of them is on a goroutine of its own
		(<-st.given).File.Close()
	}
	if n := goroutines(); n != most {
		t.Errorf("%d goroutines, want %d", n, most)
	}
	close(hold)
	for deadline := time.Now().Add(slowtest.Scale(time.Minute)); goroutines() > maxFree; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines stay, want %d", goroutines(), maxFree)
		}
	}
	st.dial()
	(<-st.given).File.Close()
}
