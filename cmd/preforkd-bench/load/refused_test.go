package load

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/slowtest"
)

// waiting is a listener on which nobody accepts until resume is called.
type waiting struct {
	net.Listener
	mu      sync.Mutex
	sources map[netip.Addr]int
}

func listen(t *testing.T, backlog int) *waiting {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err == nil {
		// A second listen(2) changes the backlog.
		err = raw.Control(func(fd uintptr) { err = unix.Listen(int(fd), backlog) })
	}
	if err != nil {
		t.Fatal(err)
	}
	return &waiting{Listener: l, sources: map[netip.Addr]int{}}
}

func (w *waiting) addr() netip.AddrPort { return w.Addr().(*net.TCPAddr).AddrPort() }

func (w *waiting) resume(handle func(net.Conn)) func() error {
	return func() error {
		go func() {
			for {
				conn, err := w.Accept()
				if err != nil {
					return
				}
				w.mu.Lock()
				w.sources[conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()]++
				w.mu.Unlock()
				handle(conn)
			}
		}()
		return nil
	}
}

func refuse(c net.Conn) { c.Close() }

func manySources(n int) *Sources {
	return NewSources(n, func(i int) [4]byte { return [4]byte{127, 9, byte(i >> 8), byte(i)} })
}

// Each connection of a burst comes from the next source, and all are refused.
func TestBurst(t *testing.T) {
	w := listen(t, 200)
	sources := manySources(150)
	for _, first := range []int{1, 2} {
		r, err := Burst(t.Context(), w.addr(), sources, 100, w.resume(refuse))
		if err != nil {
			t.Fatal(err)
		}
		if r.Done != 100 || r.Failed() != 0 || r.Elapsed <= 0 {
			t.Errorf("burst %d: done %d, errors %v, in %v", first, r.Done, r.Errors, r.Elapsed)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.sources) != 150 {
		t.Errorf("200 connections came from %d sources, want all 150", len(w.sources))
	}
}

func TestBurstNoticesThatItIsServed(t *testing.T) {
	w := listen(t, 200)
	r, err := Burst(t.Context(), w.addr(), manySources(10), 10, w.resume(func(c net.Conn) {
		c.Write([]byte("hello"))
		c.Close()
	}))
	if err != nil {
		t.Fatal(err)
	}
	if r.Done != 0 || r.Errors[kind(errServed)] != 10 {
		t.Errorf("done %d, errors %v", r.Done, r.Errors)
	}
}

// What a backlog has no room for would be retried by the kernel after a second,
// and that would be measured.
func TestBurstIsNoLargerThanTheBacklog(t *testing.T) {
	w := listen(t, 20)
	ctx, cancel := context.WithTimeout(t.Context(), slowtest.Scale(time.Minute))
	defer cancel()
	r, err := Burst(ctx, w.addr(), manySources(10), 1000, w.resume(refuse))
	if err != nil {
		t.Fatal(err)
	}
	if r.Failed() != 0 || r.Done < 20 || r.Done > 30 {
		t.Errorf("done %d, errors %v; the backlog is 20", r.Done, r.Errors)
	}
}

func TestFlood(t *testing.T) {
	var refused atomic.Int32
	enough := make(chan struct{})
	addr := serve(t, func(c net.Conn) {
		c.Close()
		if refused.Add(1) == 500 {
			close(enough)
		}
	})
	f, err := StartFlood(t.Context(), addr, manySources(1000), 8)
	if err != nil {
		t.Fatal(err)
	}
	<-enough
	r, err := f.Stop()
	if err != nil || r.Failed() != 0 || r.Done < 400 || r.Done > int(refused.Load()) || r.Rate() <= 0 {
		t.Errorf("done %d of %d, errors %v, %v", r.Done, refused.Load(), r.Errors, err)
	}
	served, err := StartFlood(t.Context(), serve(t, func(c net.Conn) { c.Write([]byte("x")); c.Close() }), manySources(10), 4)
	if err != nil {
		t.Fatal(err)
	}
	<-served.done // by itself: nothing gets better when this often is served
	if r, err := served.Stop(); err != nil || r.Done != 0 || r.Errors[kind(errServed)] < maxFailures {
		t.Errorf("done %d, errors %v, %v", r.Done, r.Errors, err)
	}
}

func TestCancelEndsRefusedLoads(t *testing.T) {
	w := listen(t, 20)
	ctx, cancel := context.WithCancel(t.Context())
	begun := time.Now()
	if _, err := Burst(ctx, w.addr(), manySources(10), 5, func() error { cancel(); return nil }); err != context.Canceled {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begun); took >= timeout {
		t.Errorf("it took %v", took)
	}
}

func TestAnswers(t *testing.T) {
	w := listen(t, 20)
	w.Close()
	for name, c := range map[string]struct {
		addr netip.AddrPort
		want bool
	}{
		"nobody listens": {w.addr(), false},
		"closed":         {serve(t, refuse), false},
		"echo":           {serve(t, echo), true},
	} {
		if got, err := Answers(t.Context(), c.addr); got != c.want || err != nil {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
	if _, err := Answers(t.Context(), netip.MustParseAddrPort("192.0.2.1:80")); err == nil {
		t.Error("an address that is not of the loopback was asked")
	}
}
