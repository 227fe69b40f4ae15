package endpoints

import (
	"fmt"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/service"
)

// free returns a port that is free.
func free(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// A listener that was replaced stays while somebody waits there, for the service
// that has its address, whatever the next plans do with that one.
func TestReplacedListener(t *testing.T) {
	s, _ := newSet(t, false)
	port := free(t)
	at := func(service, host string) []*spec {
		return specs(t, fmt.Sprintf("[service.%s]\nlisten = ['%s:%d']\n", service, host, port)+cat)
	}
	install := func(specs []*spec) *Listener {
		t.Helper()
		p, closed := commit(t, s, specs)
		s.Retire(closed)
		if len(p.Opened) != 1 {
			t.Fatalf("%d opened", len(p.Opened))
		}
		return p.Opened[0]
	}
	first := install(at("a", "127.0.0.1"))
	if s.CheckInterval() != 0 {
		t.Error("there is something to check")
	}
	waiting, err := net.Dial("tcp", first.Local())
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	second := install(at("b", ""))
	if first.Spec() != second.Spec() || s.CheckInterval() == 0 {
		t.Error("who waits is not for the service that has the address")
	}
	third := install(at("c", "127.0.0.1")) // of the second one it covers only a part
	if first.Spec() != third.Spec() {
		t.Error("who waits is not for the service that has the address after the next plan")
	}
	select {
	case <-second.Closed():
	default:
		t.Error("a service that has only a part of the address has taken over")
	}
	later := time.Now().Add(time.Hour)
	s.Check(later)
	select {
	case <-first.Closed():
		t.Fatal("closed while somebody waits")
	default:
	}
	conn, err := first.Accept(slots{})
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(conn.FD)
	s.Check(time.Now())
	select {
	case <-first.Closed():
		t.Fatal("closed before those had time who have begun to connect")
	default:
	}
	s.Check(later)
	<-first.Closed()
	if s.CheckInterval() != 0 || dial(third) != nil {
		t.Error("there is something to check, or the last one does not listen")
	}
	// The end of a service is the end of those that were replaced by it.
	fourth := install(at("c", ""))
	s.RetireService("c")
	<-third.Closed()
	<-fourth.Closed()
}

type spec = service.Spec

type slots struct{}

func (slots) Reserve() bool { return true }
func (slots) Cancel()       {}

// The manager drops sockets by name: what stays under that name is stored again.
func TestReplacedStoredListener(t *testing.T) {
	s, manager := newSet(t, true)
	port := free(t)
	text := fmt.Sprintf("[service.a]\nlisten = ['127.0.0.1:%d']\n", port) + cat
	p, closed := commit(t, s, specs(t, text))
	s.Retire(closed)
	s.Store(s.All())
	name := p.Opened[0].endpoint.storeName()
	p, closed = commit(t, s, specs(t, text+"reuse-port = true\n"))
	if len(p.Opened) != 1 || len(closed) != 1 {
		t.Fatalf("%d opened, %d closed", len(p.Opened), len(closed))
	}
	s.Retire(closed)
	s.Store(s.All())
	want := []string{"store " + name, "remove " + name, "store " + name}
	if fmt.Sprint(manager.told) != fmt.Sprint(want) {
		t.Errorf("the manager was told %q, want %q", manager.told, want)
	}
}
