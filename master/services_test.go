package master

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/preforkd/preforkd/ipc/fdtest"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/reloading"
	"github.com/preforkd/preforkd/master/service/servicetest"
	"github.com/preforkd/preforkd/master/status"
	"github.com/preforkd/preforkd/master/workers"
)

// A reload keeps what has not changed, with its spares; changes what has; and
// adds and removes services, whose accounts outlive them.
func TestInstall(t *testing.T) {
	st := newStage(t, spareKeys)
	defer st.end()
	first := st.spec()
	spare := st.spare()
	other, _ := st.services.named("other")
	otherSpec := other.Spec()
	st.reload(1)
	if other.Spec() != otherSpec || st.dispatcher.Pool(otherSpec).Closed() {
		t.Error("a service that is as before has changed")
	}
	if st.spec() == first || !st.dispatcher.Pool(first).Closed() || st.spec().Owner() != first.Owner() {
		t.Error("a service that has changed is as before")
	}
	if state := st.worker(spare).State(); state != workers.Retiring {
		t.Errorf("a spare of the Spec before is %v", state)
	}
	st.reserved()
	st.remove()
	if _, err := st.services.named("test"); err == nil || !strings.Contains(err.Error(), `there is no service "test"; there is other`) {
		t.Error(err)
	}
	if !first.Owner().Draining() || len(st.services.unused()) != 1 || st.services.totals().Accepted != 1 {
		t.Errorf("draining %v, unused %v, %+v", first.Owner().Draining(), st.services.unused(), st.services.totals())
	}
	st.look()
	st.exit(st.actors[len(st.actors)-1], 0)
	st.remove() // it was in neither of the last two configurations now
	if len(st.services.unused()) != 0 || st.services.totals().Accepted != 1 || st.services.totals().Completed != 1 {
		t.Errorf("unused %v, %+v", st.services.unused(), st.services.totals())
	}
	st.reload(2)
	if st.spec().Owner() == first.Owner() {
		t.Error("a service that was deleted is there again")
	}
}

// A service that comes back while its connections live is the same one.
func TestServiceComesBack(t *testing.T) {
	st := newStage(t, spareKeys)
	defer st.end()
	s := st.spec().Owner()
	st.reserved()
	st.look()
	st.remove()
	st.remove()
	st.reload(0)
	if st.spec().Owner() != s || s.Draining() || s.Gate.Counts().Held != 1 {
		t.Errorf("another one %v, draining %v, %d slots held", st.spec().Owner() != s, s.Draining(), s.Gate.Counts().Held)
	}
	st.drainService(s, "test")
	if state := status.StateOf(s, false, 1); state != status.Draining {
		t.Errorf("the service is %s", state)
	}
	st.drainService(s, "test again")
	if n := len(st.events("draining")); n != 1 {
		t.Errorf("%d times draining", n)
	}
}

// A configuration that cannot be had changes nothing.
func TestInstallFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	st := newStage(t, spareKeys)
	defer st.end()
	before, spec := slices.Clone(st.services.inForce), st.spec()
	fds := fdtest.Open(t)
	for want, text := range map[string]string{
		"address already in use": "[service.test]\nlisten = ['" + taken.Addr().String() + "']\nprogram = ['/bin/cat']\n",
		"serve metrics: ":        "[service.test]\n" + listenText + "program = ['/bin/true']\n",
	} {
		cfg := servicetest.Config(t, text)
		cfg.Control = config.ControlNone
		if want == "serve metrics: " {
			cfg.Metrics = taken.Addr().String()
		}
		c, err := st.services.compile(&cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.Master.install(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if !slices.Equal(st.services.inForce, before) || st.spec() != spec || spec.Owner().Spec() != spec || st.dispatcher.Pool(spec).Closed() {
		t.Error("the services have changed")
	}
	if after := fdtest.Open(t); after != fds {
		t.Errorf("%d descriptors before, %d after", fds, after)
	}
}

// A drain that is asked for while a reload is under way is not undone by it.
func TestDrainDuringReload(t *testing.T) {
	st := newStage(t, spareKeys)
	defer st.end()
	s := st.spec().Owner()
	st.reloads.Begin(nil, time.Now())
	st.reloads.Enqueue(nil)
	st.drainService(s, "test")
	st.reloads.End()
	st.reloads.TakeQueued()
	for range 2 { // the one that was under way, and the one after it
		st.reload(len(st.specs))
		if s.Draining() {
			t.Fatal("a reload leaves the service drained by itself")
		}
		if st.reapplyDrains(); !s.Draining() {
			t.Error("the reload has undone the drain")
		}
	}
	st.reload(len(st.specs)) // asked for after it
	if st.reapplyDrains(); s.Draining() {
		t.Error("a later reload has not brought the service back")
	}
}

// So is one of a service that drains already, which the reload would bring back.
func TestDrainAgainDuringReload(t *testing.T) {
	st := newStage(t, spareKeys)
	defer st.end()
	s := st.spec().Owner()
	st.drainService(s, "test")
	st.reloads.Begin(nil, time.Now())
	st.drainService(s, "test")
	st.reloads.End()
	st.reload(len(st.specs))
	if st.reapplyDrains(); !s.Draining() {
		t.Error("the reload has undone the drain that was asked for after it")
	}
}

// Names are looked up when a configuration is compiled, that of the metrics'
// address, too (admin.NewPlan). This one is nobody's (RFC 6761, section 6.4).
func TestCompileLooksNamesUp(t *testing.T) {
	st := newStage(t, spareKeys)
	defer st.end()
	cfg := servicetest.Config(t, "[service.test]\n"+listenText+"program = ['/bin/cat']\n")
	cfg.Metrics = "nobody.invalid:9107"
	if _, err := st.services.compile(&cfg, nil); err == nil || !strings.HasPrefix(err.Error(), "serve metrics: listen nobody.invalid:9107: ") {
		t.Error(err)
	}
	cfg.Metrics, cfg.ControlOwner = "", "nobody-at-all"
	if _, err := st.services.compile(&cfg, nil); err == nil || !strings.HasPrefix(err.Error(), "control socket: ") {
		t.Error(err)
	}
}

// Installing waits for nothing: no name is looked up on the loop. The names of
// this configuration are gone by the time that it is installed. For the metrics'
// address package admin has the same test.
func TestInstallLooksNothingUp(t *testing.T) {
	st := newStage(t, spareKeys)
	defer st.end()
	cfg := servicetest.Config(t, "[service.test]\nlisten = ['127.0.0.1:0']\nprogram = ['/bin/cat']\n")
	cfg.Control, cfg.Metrics = config.ControlNone, "127.0.0.1:0"
	c, err := st.services.compile(&cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	// What was looked up is kept; the names stand for nothing any more.
	a := &c.specs[0].Addresses[0]
	a.Host, a.IP = "nobody.invalid", netip.Addr{}
	started := time.Now()
	ch, err := st.Master.install(c)
	if err != nil {
		t.Fatalf("after %v: %v", time.Since(started), err)
	}
	ch.opened = nil // nobody is to accept
	st.serveChange(ch)
	defer st.admin.Close()
	if l := st.endpoints.Of("test"); len(l) != 1 || !strings.HasPrefix(l[0].Local(), "127.0.0.1:") {
		t.Errorf("%v", l)
	}
}

// With Once, nothing is bound any more when the one connection is there; and while
// the master stops a status still shows where it listened.
func TestNothingIsBoundAtTheEnd(t *testing.T) {
	st := newStage(t, spareKeys)
	defer st.end()
	cfg := servicetest.Config(t, "[service.test]\nlisten = ['127.0.0.1:0']\nprogram = ['/bin/cat']\n")
	cfg.Control = config.ControlNone
	c, err := st.services.compile(&cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	st.stopAccepting() // as takeOutcome does with Once, which changes no phase
	waiter := make(chan reloading.Outcome, 1)
	st.reloads.Begin(reloading.Waiters{waiter}, time.Now())
	before := fdtest.Open(t)
	st.finishReload(compileResult{compiled: c})
	if o := <-waiter; o.Err != errReloadWhileStopping || fdtest.Open(t) != before {
		t.Errorf("%+v, %d descriptors before and %d after", o, before, fdtest.Open(t))
	}
	if len(st.endpoints.Of("test")) != 1 {
		t.Error("a status would not show the listener")
	}
}
