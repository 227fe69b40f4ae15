package endpoints

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/fdtest"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/service/servicetest"
	"github.com/preforkd/preforkd/master/systemd"
)

// A fakeManager plays the service manager's FD store.
type fakeManager struct{ told []string }

func (m *fakeManager) Store(name string, fd int) error {
	m.told = append(m.told, "store "+name)
	return listen.Check(fd)
}
func (m *fakeManager) Remove(name string) { m.told = append(m.told, "remove "+name) }
func (m *fakeManager) Barrier() error     { m.told = append(m.told, "barrier"); return nil }

func newSet(t *testing.T, store bool) (*Set, *fakeManager) {
	m := &fakeManager{}
	s := NewSet(m, store, zap.NewNop())
	t.Cleanup(s.Discard)
	return s, m
}

// specs compiles a configuration, and gives each Spec to a service.
func specs(t *testing.T, text string) []*service.Spec {
	t.Helper()
	specs := servicetest.Specs(t, text)
	for _, spec := range specs {
		own(spec)
	}
	return specs
}

func own(spec *service.Spec) {
	s := service.New(spec.Name, spec.Policy(), zap.NewNop())
	s.SetOwner(spec)
	s.Install(spec, time.Now())
}

// commit plans and commits, and fails the test where that fails.
func commit(t *testing.T, s *Set, specs []*service.Spec) (p *Plan, closed []*Listener) {
	t.Helper()
	p, err := s.Plan(specs)
	if err != nil {
		t.Fatal(err)
	}
	closed, _ = s.Commit(p)
	return p, closed
}

const cat = "program = ['/bin/cat']\n"

func dial(l *Listener) error {
	conn, err := net.Dial("tcp", l.Local())
	if err == nil {
		conn.Close()
	}
	return err
}

// Listeners of addresses that stay are kept, with what waits in their queues;
// those of others are opened and closed.
func TestPlanKeepsListeners(t *testing.T) {
	s, _ := newSet(t, false)
	first := specs(t, "[service.a]\nlisten = ['127.0.0.1:0', '127.0.0.1:0']\n"+cat+"[service.b]\nlisten = ['127.0.0.1:0']\n"+cat)
	p, closed := commit(t, s, first)
	if len(p.Opened) != 3 || len(closed) != 0 || len(s.Of("a")) != 2 || len(s.All()) != 3 {
		t.Fatalf("%d opened, %d closed, %v", len(p.Opened), len(closed), s.All())
	}
	kept := s.Of("a")[0]
	second := specs(t, "[service.c]\nlisten = ['127.0.0.1:0']\n"+cat+"[service.a]\nlisten = ['127.0.0.1:0']\nnodelay = false\n"+cat)
	p, closed = commit(t, s, second)
	if len(p.Opened) != 1 || p.Opened[0].Spec() != second[0] || len(closed) != 2 {
		t.Errorf("%d opened, %d closed", len(p.Opened), len(closed))
	}
	if got := s.Of("a"); len(got) != 1 || got[0] != kept || kept.Spec() != second[1] {
		t.Errorf("a listens at %v for %p, want the one that it had for %p", got, kept.Spec(), second[1])
	}
	if all := s.All(); len(all) != 2 || all[0] != p.Opened[0] {
		t.Errorf("%v, want them in the order of the configuration", all)
	}
	for _, l := range closed {
		if dial(l) != nil {
			t.Error("a listener is closed before it is retired")
		}
	}
	s.Retire(closed)
	for _, l := range closed {
		if dial(l) == nil {
			t.Error("a retired listener listens")
		}
		<-l.Closed()
	}
	s.RetireService("a")
	if dial(kept) == nil || len(s.Of("a")) != 0 || len(s.All()) != 1 {
		t.Error("a drained service listens")
	}
	s.CloseAll()
	s.CloseAll()
	if dial(s.All()[0]) == nil {
		t.Error("a listener is left")
	}
}

// A plan that fails, or is discarded, leaves everything as it was.
func TestPlanFails(t *testing.T) {
	s, _ := newSet(t, false)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	path := filepath.Join(t.TempDir(), "socket")
	first := specs(t, "[service.a]\nlisten = ['127.0.0.1:0']\n"+cat)
	commit(t, s, first)
	kept := s.Of("a")[0]
	before := fdtest.Open(t)
	for text, want := range map[string]string{
		"[service.a]\nlisten = ['unix:" + path + "', '" + taken.Addr().String() + "']\n" + cat: "bind service a: listen " + taken.Addr().String() + ": address already in use",
		"[service.a]\nlisten = ['127.0.0.1:0']\nbind-to-device = 'nosuch0'\n" + cat:            "bind service a: listen " + kept.Local() + ": bind to device nosuch0: no such device",
	} {
		if _, err := s.Plan(specs(t, text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	p, err := s.Plan(specs(t, "[service.b]\nlisten = ['unix:"+path+"']\n"+cat))
	if err != nil {
		t.Fatal(err)
	}
	p.Discard()
	if _, err := os.Lstat(path); err == nil {
		// Whoever binds next finds a socket that nobody listens at.
		if conn, err := net.Dial("unix", path); err == nil {
			conn.Close()
			t.Error("a discarded listener listens")
		}
	}
	if after := fdtest.Open(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	if kept.Spec() != first[0] || dial(kept) != nil {
		t.Error("the listener that was there has changed")
	}
}

// A listener that another service takes over tells whom it was taken from.
func TestListenerChangesService(t *testing.T) {
	s, _ := newSet(t, false)
	path := filepath.Join(t.TempDir(), "socket")
	first := specs(t, "[service.a]\nlisten = ['unix:"+path+"']\n"+cat)
	commit(t, s, first)
	l := s.Of("a")[0]
	second := specs(t, "[service.b]\nlisten = ['unix:"+path+"']\n"+cat)
	p, err := s.Plan(second)
	if err != nil {
		t.Fatal(err)
	}
	closed, left := s.Commit(p)
	if len(closed) != 0 || !slices.Equal(left, []*service.Service{first[0].Owner()}) || l.Spec() != second[0] {
		t.Errorf("closed %v, left %v, accepts for %s", closed, left, l.Spec().Name)
	}
}

// What the master binds is left with the manager under a name that tells it
// apart, until it is retired; a stop leaves it there.
func TestStore(t *testing.T) {
	s, m := newSet(t, true)
	p, _ := commit(t, s, specs(t, "[service.a]\nlisten = ['127.0.0.1:0', '127.0.0.1:0']\n"+cat))
	s.Store(p.Opened)
	s.Store(p.Opened)
	if len(m.told) != 2 || m.told[0] == m.told[1] || !strings.HasPrefix(m.told[0], "store "+config.ReservedPrefix) {
		t.Errorf("the manager was told %q", m.told)
	}
	if s.TakeBarrier() {
		t.Error("a barrier is pending")
	}
	first := strings.TrimPrefix(m.told[0], "store ")
	s.Retire(p.Opened[:1])
	if last := m.told[len(m.told)-1]; last != "remove "+first || !s.TakeBarrier() || s.TakeBarrier() {
		t.Errorf("the manager was told %q", m.told)
	}
	if err := s.AwaitRemoval(); err != nil || m.told[len(m.told)-1] != "barrier" {
		t.Errorf("%v, %q", err, m.told)
	}
	before := len(m.told)
	s.listeners["a"] = s.listeners["a"][1:]
	s.CloseAll()
	if len(m.told) != before {
		t.Errorf("a stop tells the manager %q", m.told[before:])
	}
	without, m := newSet(t, false)
	p, _ = commit(t, without, specs(t, "[service.a]\nlisten = ['127.0.0.1:0']\n"+cat))
	if without.Store(p.Opened); len(m.told) != 0 {
		t.Errorf("without a store the manager was told %q", m.told)
	}
}

// listening returns a socket as systemd passes it. The set owns it.
func listening(t *testing.T, name string) systemd.Socket {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 16); err != nil {
		t.Fatal(err)
	}
	return systemd.Socket{FD: fd, Name: name}
}

// A passed socket takes the place of the listed addresses, outlives a drain of
// its service, and is there again when a reload brings the service back.
func TestInheritPassed(t *testing.T) {
	s, _ := newSet(t, true)
	text := "[service.a]\nlisten = ['127.0.0.1:0', '127.0.0.1:0']\n" + cat
	cfg := servicetest.Config(t, text)
	if err := s.Inherit([]systemd.Socket{listening(t, "a")}, cfg.Services); err != nil {
		t.Fatal(err)
	}
	p, _ := commit(t, s, specs(t, text))
	if len(p.Opened) != 1 {
		t.Fatalf("%d listeners", len(p.Opened))
	}
	l := p.Opened[0]
	s.RetireService("a")
	if dial(l) != nil {
		t.Error("the socket is the manager's, and closed")
	}
	if p, _ = commit(t, s, specs(t, text)); len(p.Opened) != 1 || p.Opened[0].Local() != l.Local() {
		t.Errorf("%v after the drain", p.Opened)
	}
}

// Errors of what was passed say what is wrong, and nothing stays open.
func TestInheritErrors(t *testing.T) {
	cfg := servicetest.Config(t, "[service.a]\nlisten = ['127.0.0.1:0']\n"+cat+"[service.b]\nlisten = ['127.0.0.1:0']\n"+cat)
	for want, sockets := range map[string][]systemd.Socket{
		"passed descriptor 1 of 1, a, is not a socket": {{FD: func() int { fd, _ := unix.Dup(0); return fd }(), Name: "a"}},
		"nobody": {listening(t, "nobody")},
	} {
		s, _ := newSet(t, true)
		before := fdtest.Open(t)
		if err := s.Inherit(sockets, cfg.Services); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		if after := fdtest.Open(t); after != before-1 {
			t.Errorf("%d descriptors before, %d after", before, after)
		}
	}
	s, _ := newSet(t, true)
	cfg.Services[1].Listen = nil
	if err := s.Inherit(nil, cfg.Services); err == nil || err.Error() != errNoSocket("b").Error() {
		t.Error(err)
	}
}

// Stored sockets are taken back for their endpoint; those that nobody listens at
// any more, and those that do not fit, are removed from the store.
func TestReuseStored(t *testing.T) {
	text := "[service.a]\nlisten = ['127.0.0.1:0']\n" + cat
	spec := specs(t, text)
	name := endpoint{address: spec[0].Listen[0], service: "a"}.storeName()
	s, m := newSet(t, true)
	stored, old := listening(t, name), listening(t, config.ReservedPrefix+"old")
	if err := s.Inherit([]systemd.Socket{stored, old}, servicetest.Config(t, text).Services); err != nil {
		t.Fatal(err)
	}
	port, err := unix.Getsockname(stored.FD)
	if err != nil {
		t.Fatal(err)
	}
	s.CloseUnusedStored(spec)
	if !slices.Equal(m.told, []string{"remove " + config.ReservedPrefix + "old", "barrier"}) {
		t.Errorf("the manager was told %q", m.told)
	}
	p, _ := commit(t, s, spec)
	if l := p.Opened[0]; !l.stored || !strings.HasSuffix(l.Local(), ":"+strconv.Itoa(port.(*unix.SockaddrInet4).Port)) {
		t.Errorf("%s is not the stored socket", l.Local())
	}
	m.told = nil
	if s.Store(p.Opened); len(m.told) != 0 {
		t.Errorf("what is stored was stored again: %q", m.told)
	}

	unfit, m := newSet(t, true)
	if err := unfit.Inherit([]systemd.Socket{listening(t, name), listening(t, name)}, servicetest.Config(t, text).Services); err != nil {
		t.Fatal(err)
	}
	p, _ = commit(t, unfit, specs(t, text))
	if p.Opened[0].stored || !slices.Equal(m.told, []string{"remove " + name, "barrier"}) {
		t.Errorf("stored %v, the manager was told %q", p.Opened[0].stored, m.told)
	}
}
