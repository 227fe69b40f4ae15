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
	"github.com/preforkd/preforkd/master/epoll"
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
	st.a, err = New(Config{Dispatcher: st, IDs: service.NewIDs(time.Now()), Redact: &redact.Policy{}, Linger: closer, Stopping: st.stopping})
	if err != nil {
		t.Fatal(err)
	}
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
	if n := (&Acceptor{cfg: Config{OneConnection: true}}).perListener(); n != 1 {
		t.Errorf("%d goroutines for one connection", n)
	}
	if n := (&Acceptor{}).perListener(); n < 2 {
		t.Errorf("%d goroutines: a program that is slow to start leaves nobody to accept", n)
	}
}

// accepting counts the goroutines of Acceptors.
func accepting() int {
	n := 0
	stacks := make([]byte, 1<<20)
	for _, stack := range bytes.Split(stacks[:runtime.Stack(stacks, true)], []byte("\n\n")) {
		if bytes.Contains(stack, []byte("(*Acceptor).run(")) {
			n++
		}
	}
	return n
}

// until waits for a condition.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(slowtest.Scale(time.Minute)); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so: %s", what)
		}
	}
}

// keep has Dispatch keep whoever calls it until the result is closed.
func (st *stage) keep() chan struct{} {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.hold = make(chan struct{})
	return st.hold
}

// One goroutine waits at all listeners. While connections are slow to be served, others
// accept: as many from one listener as are allowed, and from the others still. When all
// are served, few goroutines stay.
func TestSlowStarts(t *testing.T) {
	st := newStageAt(t, "127.0.0.1:0', '127.0.0.1:0', '127.0.0.1:0", "")
	until(t, "one goroutine waits", func() bool { return accepting() == 1 })
	hold, most := st.keep(), st.a.perListener()
	all := st.set.All()
	dial := func(l *endpoints.Listener) {
		conn, err := net.Dial("tcp", l.Local())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
	}
	for range most + 1 {
		dial(all[0])
	}
	for range most {
		(<-st.given).File.Close()
	}
	select {
	case c := <-st.given:
		t.Errorf("%s is one too many", c.ID)
	case <-time.After(20 * time.Millisecond):
	}
	dial(all[1])
	c := <-st.given
	if c.Local != all[1].Local() {
		t.Errorf("a connection to %s, want %s", c.Local, all[1].Local())
	}
	c.File.Close()
	until(t, "each is on a goroutine of its own", func() bool { return accepting() == most+1 })
	close(hold)
	c = <-st.given // the one too many
	c.File.Close()
	dial(all[2])
	(<-st.given).File.Close()
	until(t, "few stay", func() bool { return accepting() <= 1+maxFree })
	in := st.a.intakes.of(1)
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.serving != 0 || in.holds != 0 || in.crowded {
		t.Errorf("%d serve, %d reasons to wait, crowded %v", in.serving, in.holds, in.crowded)
	}
}

// A listener with many connections does not keep others waiting: they are taken in turn.
func TestTurns(t *testing.T) {
	const listeners, crowd = 20, 60
	st := newStageAt(t, strings.Repeat("127.0.0.1:0', '", listeners-1)+"127.0.0.1:0", "max-connections = 1000\n")
	all := st.set.All()
	// Nobody else takes them.
	for key := range int32(listeners) {
		st.a.intakes.of(key + 1).hold()
	}
	a, err := New(st.a.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for i, l := range all {
		n := 1
		if i == 0 {
			n = crowd
		}
		for range n {
			conn, err := net.Dial("tcp", l.Local())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
		}
		a.add(l)
	}
	for _, l := range all {
		until(t, l.Local()+" has somebody waiting", l.Waiting)
	}
	busy := 0
	for others := 0; others < listeners-1; {
		in, _, _ := a.next()
		c, ok := a.accept(in)
		if !ok {
			t.Fatal("nobody waits")
		}
		unix.Close(c.conn.FD)
		if in.key == 1 {
			busy++
		} else {
			others++
		}
	}
	if busy > 2 {
		t.Errorf("%d connections of the busy listener came before the last of %d others", busy, listeners-1)
	}
}

// Connections are known to have waited from the moment that no slot was free until the
// queue has been empty, and no others are.
func TestQueued(t *testing.T) {
	st := newStage(t, "max-connections = 1\n")
	in := st.a.intakes.of(1)
	serve := func(leave bool) {
		t.Helper()
		client := st.dial()
		if leave {
			if err := client.SetLinger(0); err != nil {
				t.Fatal(err)
			}
			client.Close()
		}
	}
	serve(false)
	c := <-st.given
	until(t, "nobody waits", func() bool { return !in.Waiting() })
	// Of those who wait for the slot two go. One who has not waited is not asked.
	serve(true)
	serve(true)
	serve(false)
	until(t, "full", func() bool { in.mu.Lock(); defer in.mu.Unlock(); return in.holds == 1 })
	st.spec.Owner().Gate.Release(c.Slot, time.Now())
	c.File.Close()
	c = <-st.given
	st.refused(admit.Gone, 2)
	st.spec.Owner().Gate.Release(c.Slot, time.Now())
	c.File.Close()
	until(t, "nobody waits", func() bool { return st.a.set != nil && !in.Waiting() })
	if in.delayed.Load() == 0 {
		t.Error("nobody has waited")
	}
	before := now()
	until(t, "the queue was seen to be empty", func() bool {
		client := st.dial()
		defer client.Close()
		c := <-st.given
		st.spec.Owner().Gate.Release(c.Slot, time.Now())
		c.File.Close()
		return in.delayed.Load() < before
	})
}

// A listener that cannot be watched is tried again, and one that is closed is not.
func TestWatchFails(t *testing.T) {
	st := newStage(t, "")
	in := st.a.intakes.of(1)
	good := in.set
	in.hold()
	bad, err := epoll.New()
	if err != nil {
		t.Fatal(err)
	}
	bad.Close()
	in.mu.Lock()
	in.set = bad
	in.mu.Unlock()
	in.release()
	in.mu.Lock()
	if in.holds != 1 {
		t.Errorf("%d reasons to wait, want one", in.holds)
	}
	if n := st.logs.FilterMessage("accept failed").Len(); n != 1 {
		t.Errorf("the log tells of it %d times", n)
	}
	in.set = good
	in.mu.Unlock()
	st.dial()
	(<-st.given).File.Close()
	until(t, "the log says that it has passed", func() bool { return st.logs.FilterMessage("accept recovered").Len() == 1 })
	in.hold()
	st.stop()
	in.release()
	if in.holds != 0 {
		t.Error("a closed listener is tried again")
	}
	if st.a.intakes.of(1) != nil {
		t.Error("a closed listener is kept")
	}
}

// The standby tells of connections while it is armed, once, and of those that have come
// before, too.
func TestStandby(t *testing.T) {
	st := newStage(t, "")
	st.a.intakes.of(1).hold() // nobody else takes them
	a, err := New(st.a.cfg)
	if err != nil {
		t.Fatal(err)
	}
	a.add(st.set.All()[0])
	told := make(chan bool)
	go func() {
		defer close(told)
		for a.standby.wait() {
			told <- true
		}
	}()
	quiet := func(when string) {
		t.Helper()
		select {
		case <-told:
			t.Errorf("told %s", when)
		case <-time.After(10 * time.Millisecond):
		}
	}
	quiet("of nothing")
	if !a.standby.arm() {
		t.Fatal("it cannot be armed")
	}
	quiet("of nothing while it was armed")
	a.standby.disarm()
	st.dial()
	quiet("while it was not armed")
	a.standby.arm()
	<-told // of who has come before
	st.dial()
	quiet("twice")
	for range 2 {
		in, _, _ := a.next()
		c, ok := a.accept(in)
		if !ok {
			t.Fatal("nobody waits")
		}
		unix.Close(c.conn.FD)
	}
	a.standby.arm()
	quiet("of those who were taken")
	st.dial()
	<-told
	a.Close()
	if _, open := <-told; open {
		t.Error("told of the end")
	}
	if a.standby.arm() {
		t.Error("a closed standby is armed")
	}
}
