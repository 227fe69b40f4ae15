package systemdtest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/nspawn"
)

// A client is a connection into the machine. Everything on it fails after the
// deadline.
type client struct{ net.Conn }

func (s *service) dial(t *testing.T) client {
	t.Helper()
	return s.dialTo(t, "tcp", address)
}

func (s *service) dialTo(t *testing.T, network, address string) client {
	t.Helper()
	c, err := dial(t.Context(), s.Machine, network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func dial(ctx context.Context, m *nspawn.Machine, network, address string) (client, error) {
	ctx, cancel := context.WithTimeout(ctx, deadline())
	defer cancel()
	c, err := m.Dial(ctx, network, address)
	if err != nil {
		return client{}, err
	}
	c.SetDeadline(time.Now().Add(deadline()))
	return client{c}, nil
}

// echo sends s and expects it back.
func (c client) echo(t *testing.T, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
	c.expect(t, s)
}

// expect reads as many bytes as want has, and compares.
func (c client) expect(t *testing.T, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil {
		t.Fatalf("read %q, then: %v; want %q", got[:n], err, want)
	}
	if string(got) != want {
		t.Fatalf("read %q, want %q", got, want)
	}
}

// closeWrite ends the client's direction and leaves the other open.
func (c client) closeWrite() error {
	return c.Conn.(interface{ CloseWrite() error }).CloseWrite()
}

// rest reads to the end of the stream.
func (c client) rest(t *testing.T) string {
	t.Helper()
	rest, err := io.ReadAll(c)
	if err != nil {
		t.Fatalf("read %d bytes, then: %v; want the end of the stream", len(rest), err)
	}
	return string(rest)
}

// A load is clients that connect, have some bytes echoed, end their direction,
// read to the end, and start over.
type load struct {
	served atomic.Int64 // connections that went as they should
	stop   chan struct{}
	wait   sync.WaitGroup

	mu     sync.Mutex // guards failed
	failed []error
}

// startLoad starts clients, who share the targets ("tcp 127.0.0.1:7007",
// "unix /run/..."), and waits until each of them may have been served.
func (s *service) startLoad(t *testing.T, clients int, targets ...[2]string) *load {
	t.Helper()
	l := &load{stop: make(chan struct{})}
	for i := range clients {
		l.wait.Add(1)
		go func() {
			defer l.wait.Done()
			target := targets[i%len(targets)]
			for n := 0; ; n++ {
				select {
				case <-l.stop:
					return
				default:
				}
				if err := oneConnection(s.Machine, target, fmt.Sprintf("client %d connection %d\n", i, n)); err != nil {
					l.mu.Lock()
					l.failed = append(l.failed, fmt.Errorf("client %d, connection %d to %s: %w", i, n, target[1], err))
					l.mu.Unlock()
					return
				}
				l.served.Add(1)
			}
		}()
	}
	t.Cleanup(func() { l.end() })
	l.more(t, 5*clients)
	return l
}

func oneConnection(m *nspawn.Machine, target [2]string, text string) error {
	c, err := dial(context.Background(), m, target[0], target[1])
	if err != nil {
		return err
	}
	defer c.Close()
	want := bytes.Repeat([]byte(text), 500)
	go func() {
		c.Write(want)
		c.closeWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil {
		return fmt.Errorf("after %d of %d bytes: %w", len(got), len(want), err)
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%d bytes came back of %d, or others", len(got), len(want))
	}
	return nil
}

// more waits until n more connections have been served, or one has not.
func (l *load) more(t *testing.T, n int) {
	t.Helper()
	before := l.served.Load()
	until(t, fmt.Sprintf("%d more connections were served", n), func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.served.Load() >= before+int64(n) || len(l.failed) > 0
	}, func() string { return fmt.Sprint(l.served.Load() - before) })
}

// end ends the load after the connections that are under way.
func (l *load) end() {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.wait.Wait()
}

// check ends the load and reports every connection that did not go well.
func (l *load) check(t *testing.T) {
	t.Helper()
	l.end()
	for _, err := range l.failed {
		t.Error(err)
	}
	t.Logf("%d connections were served", l.served.Load())
}
