package load

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// serve answers every connection on a fresh listener with handle.
func serve(t *testing.T, handle func(net.Conn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go handle(conn)
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func echo(conn net.Conn) {
	defer conn.Close()
	io.Copy(conn, conn)
}

func TestClosedCountsAndVerifies(t *testing.T) {
	r, err := Closed(t.Context(), serve(t, echo), 4, 100, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if r.Done != 100 || r.Failed() != 0 || r.Latency.TotalCount() != 100 || r.Bytes != int64(100*len(Message)) {
		t.Errorf("done %d, errors %v, latencies %d, bytes %d", r.Done, r.Errors, r.Latency.TotalCount(), r.Bytes)
	}
}

func TestFailuresAreCountedByKind(t *testing.T) {
	wrong := bytes.ToUpper(Message)
	for name, c := range map[string]struct {
		handle func(net.Conn)
		kinds  []string
	}{
		"wrong": {func(c net.Conn) { io.ReadFull(c, make([]byte, 64)); c.Write(wrong); io.Copy(io.Discard, c); c.Close() },
			[]string{"wrong bytes"}},
		"more": {func(c net.Conn) {
			io.ReadFull(c, make([]byte, 64))
			c.Write(append(bytes.Clone(Message), '!'))
			io.Copy(io.Discard, c)
			c.Close()
		}, []string{"wrong bytes"}},
		"early": {func(c net.Conn) { io.ReadFull(c, make([]byte, 64)); c.Write(Message[:10]); c.Close() },
			[]string{"closed early"}},
		"reset": {func(c net.Conn) { c.(*net.TCPConn).SetLinger(0); c.Close() },
			[]string{"ECONNRESET", "EPIPE"}},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := Closed(t.Context(), serve(t, c.handle), 2, 10, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			found := 0
			for _, k := range c.kinds {
				found += r.Errors[k]
			}
			if r.Done != 0 || found != 10 {
				t.Errorf("done %d, errors %v; want 10 of %v", r.Done, r.Errors, c.kinds)
			}
		})
	}
}

func TestNobodyListensEndsByItself(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	l.Close()
	r, err := Closed(t.Context(), addr, 16, 0, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if r.Done != 0 || r.Errors["ECONNREFUSED"] < maxFailures {
		t.Errorf("done %d, errors %v", r.Done, r.Errors)
	}
}

// A server that stalls must show in the latencies of every connection that was
// due meanwhile, not only in the one that met the stall.
func TestOpenCountsFromTheScheduledTime(t *testing.T) {
	first := make(chan bool, 1)
	first <- true
	gate := make(chan struct{})
	addr := serve(t, func(c net.Conn) {
		select {
		case <-first:
			time.AfterFunc(200*time.Millisecond, func() { close(gate) })
		default:
		}
		<-gate
		echo(c)
	})
	r, err := Open(t.Context(), addr, 200, 300*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if r.Done != 60 || r.Failed() != 0 {
		t.Fatalf("done %d, errors %v", r.Done, r.Errors)
	}
	// Due every 5 ms while nothing is answered for 200 ms: forty wait, half of
	// these for 100 ms and more, by construction and not by speed.
	if slow := r.Latency.TotalCount() * 25 / 100; r.Latency.ValueAtQuantile(75) < int64(90*time.Millisecond) {
		t.Errorf("quantile 75 is %v; want at least %d connections above 90 ms",
			time.Duration(r.Latency.ValueAtQuantile(75)), slow)
	}
}

func TestBulkPatternRepeats(t *testing.T) {
	if len(pattern) != 2*bulkChunk || !bytes.Equal(pattern[:bulkChunk], pattern[bulkChunk:]) {
		t.Error("the pattern's period is not a chunk")
	}
}

func TestBulk(t *testing.T) {
	r, err := Bulk(t.Context(), serve(t, echo), 20<<20, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if r.Done != 1 || r.Failed() != 0 || r.Bytes < 20<<20 {
		t.Errorf("done %d, errors %v, bytes %d", r.Done, r.Errors, r.Bytes)
	}
}

func TestBulkNoticesLoss(t *testing.T) {
	addr := serve(t, func(c net.Conn) {
		defer c.Close()
		buffer := make([]byte, 1<<20)
		for block := 0; ; block++ {
			n, err := c.Read(buffer)
			if err != nil {
				return
			}
			if block == 3 {
				continue
			}
			c.Write(buffer[:n])
		}
	})
	r, err := Bulk(t.Context(), addr, 20<<20, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if r.Done != 0 || r.Failed() != 1 {
		t.Errorf("done %d, errors %v", r.Done, r.Errors)
	}
}

func TestIdleServesAll(t *testing.T) {
	var pace []int
	idle, err := OpenIdle(t.Context(), serve(t, echo), 300, func(open int) { pace = append(pace, open) })
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	if idle.Result.Done != 300 || len(idle.fds) != 300 || idle.Result.Failed() != 0 {
		t.Errorf("done %d, open %d, errors %v", idle.Result.Done, len(idle.fds), idle.Result.Errors)
	}
	if n := idle.Verify(t.Context()); n != 300 {
		t.Errorf("%d of 300 still answer", n)
	}
	idle.Close()
	if want := []int{300, 172, 44, 0}; !slices.Equal(pace, want) {
		t.Errorf("paused with %v open, want %v", pace, want)
	}
}

// A server that has stopped answering does not keep an interrupted run.
func TestCancelEndsVerify(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	addr := serve(t, func(conn net.Conn) {
		message := make([]byte, len(Message))
		io.ReadFull(conn, message)
		conn.Write(message)
		// The second message is not answered.
		io.ReadFull(conn, message)
		cancel()
		io.Copy(io.Discard, conn)
	})
	idle, err := OpenIdle(t.Context(), addr, 3, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	begun := time.Now()
	if n := idle.Verify(ctx); n != 0 {
		t.Errorf("%d answer", n)
	}
	if took := time.Since(begun); took >= timeout {
		t.Errorf("it took %v, as long as a connection may take when nothing is cancelled", took)
	}
}

func TestCancelEndsEveryLoad(t *testing.T) {
	addr := serve(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	stop := errors.New("stop")
	for name, run := range map[string]func(context.Context) error{
		"closed": func(ctx context.Context) error { _, err := Closed(ctx, addr, 4, 0, time.Minute); return err },
		"open":   func(ctx context.Context) error { _, err := Open(ctx, addr, 100, time.Minute); return err },
		"bulk":   func(ctx context.Context) error { _, err := Bulk(ctx, addr, 0, time.Minute); return err },
		"idle":   func(ctx context.Context) error { _, err := OpenIdle(ctx, addr, 100, func(int) {}); return err },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(50*time.Millisecond, func() { cancel(stop) })
			if err := run(ctx); !errors.Is(err, stop) {
				t.Errorf("error %v, want %v", err, stop)
			}
		})
	}
}

func TestOnlyLoopback(t *testing.T) {
	for _, addr := range []string{"192.0.2.1:80", "[::1]:80", "127.0.0.1:0"} {
		if _, err := Closed(t.Context(), netip.MustParseAddrPort(addr), 1, 1, time.Second); err == nil {
			t.Errorf("a load on %s was not refused", addr)
		}
	}
}
