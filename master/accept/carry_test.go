package accept

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/slowtest"
	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/service"
)

// pause pauses an acceptor and fails the test if that does not come to pass.
func pause(t *testing.T, a *Acceptor) {
	t.Helper()
	if err := a.Pause(slowtest.Scale(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
}

// passOn returns an acceptor for the same listeners that has what the one of the stage
// had, which is in a pause, and the state of that. The new one has duplicates of the
// connections, so that the other one can close its own.
func passOn(t *testing.T, st *stage) (*Acceptor, State) {
	t.Helper()
	var specs service.SpecRecorder
	s := st.a.Export(carry.NewDescriptors(), &specs)
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var decoded State
	if err := json.Unmarshal(text, &decoded); err != nil {
		t.Fatal(err)
	}
	if again, err := json.Marshal(decoded); err != nil || !bytes.Equal(again, text) {
		t.Errorf("decoded it is %s, %v; want %s", again, err, text)
	}
	d := carry.NewDescriptors()
	for i := range decoded.Waiting {
		fd, err := unix.FcntlInt(uintptr(decoded.Waiting[i].Conn.FD), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			t.Fatal(err)
		}
		decoded.Waiting[i].Conn.FD = d.Keep(fd)
	}
	restored, err := service.RestoreSpecs(specs.States(), []*service.Spec{st.spec})
	if err != nil {
		t.Fatal(err)
	}
	cfg, stopping := st.a.cfg, make(chan struct{})
	cfg.Stopping = stopping
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	byName := func(name string) *service.Service {
		if name != st.spec.Name {
			return nil
		}
		return st.spec.Owner()
	}
	if err := a.Restore(&decoded, d, restored, byName); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		close(stopping)
		a.Stop()
		a.Wait()
	})
	return a, s
}

// Nobody is accepted in a pause, and all that have come are afterwards. It can come at any
// time.
func TestPause(t *testing.T) {
	st := newStage(t, "max-connections = 1000\n")
	served := make(chan int)
	const clients = 300
	go func() {
		n := 0
		for range clients {
			c := <-st.given
			st.spec.Owner().Gate.Release(c.Slot, time.Now())
			c.File.Close()
			n++
		}
		served <- n
	}()
	go func() {
		for range clients {
			st.dial()
		}
	}()
	for done := false; !done; {
		pause(t, st.a)
		before := st.spec.Owner().Ledger.Totals(0).Accepted
		time.Sleep(time.Millisecond)
		if now := st.spec.Owner().Ledger.Totals(0).Accepted; now != before {
			t.Errorf("%d were accepted in a pause", now-before)
		}
		st.a.Proceed()
		select {
		case <-served:
			done = true
		case <-time.After(time.Millisecond):
		}
	}
}

// A connection that is not served in time has everything go on.
func TestPauseIsBounded(t *testing.T) {
	st := newStage(t, "")
	release := st.keep()
	st.dial()
	c := <-st.given
	if err := st.a.Pause(time.Millisecond); err == nil {
		t.Error("a pause while a connection is dispatched")
	}
	close(release)
	c.File.Close()
	st.mu.Lock()
	st.hold = nil
	st.mu.Unlock()
	st.dial()
	(<-st.given).File.Close()
	pause(t, st.a)
	st.a.Proceed()
}

// Those that wait for the rest of their PROXY header, or for a slot, wait on where another
// acceptor has the listeners.
func TestWaitingGoesOver(t *testing.T) {
	st := newStage(t, proxied+"max-connections = 1\n")
	s := st.spec.Owner()
	holder, waiting, half, long := st.dial(), st.dial(), st.dial(), st.dial()
	slowtest.Await(t, "all are accepted", func() bool { return s.Ledger.Totals(0).Accepted == 4 })
	fmt.Fprint(holder, "PROXY TCP4 198.51.100.7 192.0.2.1 4711 80\r\n")
	c := <-st.given
	fmt.Fprint(waiting, "PROXY TCP4 198.51.100.8 192.0.2.1 4711 80\r\n")
	fmt.Fprint(half, "PROXY TCP4 198.51")
	// A header of version 2 is taken from the socket as it comes.
	v2 := append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x40"), 198, 51, 100, 10, 192, 0, 2, 1, 0x12, 0x67, 0, 80)
	v2 = append(v2, 0x04, 0, 49) // PP2_TYPE_NOOP
	v2 = append(v2, make([]byte, 49)...)
	if _, err := long.Write(v2[:40]); err != nil {
		t.Fatal(err)
	}
	slowtest.Await(t, "three wait", func() bool {
		st.a.waiters.mu.Lock()
		defer st.a.waiters.mu.Unlock()
		slot := false
		for w := range st.a.waiters.all {
			slot = slot || w.reader == nil
		}
		return len(st.a.waiters.all) == 3 && slot
	})
	// What has come is looked at before the pause is over.
	pause(t, st.a)
	st.a.Proceed()
	pause(t, st.a)
	a, before := passOn(t, st)
	if n := len(before.Waiting); n != 3 {
		t.Fatalf("%d wait, want 3: %+v", n, before.Waiting)
	}
	close(st.stopping) // the other one ends without a word
	st.a.Stop()
	st.a.Proceed()
	st.refused(admit.Draining, 3)

	// It can be handed over again as it is.
	a.Proceed()
	pause(t, a)
	var specs service.SpecRecorder
	again := a.Export(carry.NewDescriptors(), &specs)
	for i := range again.Waiting {
		was, is := before.Waiting[i], again.Waiting[i]
		was.Conn.FD, is.Conn.FD = carry.None, carry.None
		if was.Header != nil && is.Header != nil {
			if d := was.Header.Deadline.Time().Sub(is.Header.Deadline.Time()).Abs(); d > time.Second {
				t.Errorf("the deadline is another one, by %v", d)
			}
			is.Header.Deadline = was.Header.Deadline
		}
		if !reflect.DeepEqual(was, is) {
			t.Errorf("%d: %+v, want %+v", i, is, was)
		}
	}
	a.Proceed()

	s.Gate.Release(c.Slot, time.Now())
	c.File.Close()
	for _, next := range []struct {
		peer string
		send func()
	}{
		{"198.51.100.8:4711", func() {}},
		{"198.51.100.9:4711", func() { fmt.Fprint(half, ".100.9 192.0.2.1 4711 80\r\n") }},
		{"198.51.100.10:4711", func() { long.Write(v2[40:]) }},
	} {
		next.send()
		c := <-st.given
		if got := c.PeerName(); got != next.peer || c.ViaName() == "" {
			t.Errorf("%s via %q, want %s", got, c.ViaName(), next.peer)
		}
		s.Gate.Release(c.Slot, time.Now())
		c.File.Close()
	}
}

// Whoever wants a state that makes no sense gets an error.
func FuzzRestore(f *testing.F) {
	for _, text := range []string{
		`{}`,
		`{"waiting":[{"conn":{"fd":3,"peer":"1.2.3.4:5","local":"1.2.3.4:6"},"spec":0,"header":{"reader":{"length":80,"taken":"UFJPWFk=","seen":5},"deadline":1,"evicted":true}}]}`,
		`{"closed":["test"],"watches":[{"service":"test","found":true},{"service":"test"}],"shortages":[{"socket":7,"pause":-1,"until":9}],"suppressed":true}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var s State
		if json.Unmarshal(text, &s) != nil {
			return
		}
		a, err := New(Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		d := carry.NewDescriptors()
		d.Keep(3)
		var specs service.RestoredSpecs
		_ = a.Restore(&s, d, &specs, func(string) *service.Service { return nil })
	})
}
