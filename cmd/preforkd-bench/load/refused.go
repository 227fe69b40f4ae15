package load

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/osthread"
)

// The loads of this file are connections that the server refuses: it closes
// them without a byte. They send nothing. A connection counts when it was closed
// by the server, whether with an end of file or with a reset. The generator ends
// each with a reset, so that no side keeps it.

// errServed is the kind of failure of a connection that should be refused.
var errServed = errors.New("served")

// BurstLimit returns how many connections can wait for a server at most: the
// system's limit of a backlog (net.core.somaxconn), of which a few are spared,
// or what this process can hold.
func BurstLimit() (int, error) {
	content, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if err != nil {
		return 0, fmt.Errorf("read limit of the backlog: %w", err)
	}
	backlog, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return 0, fmt.Errorf("read limit of the backlog: %w", err)
	}
	files, err := Limit()
	return max(min(backlog-backlog/32, files), 1), err
}

// Burst opens count connections to a server that is stopped (SIGSTOP), so that
// all of them wait in its backlog. Then it calls resume, which lets the server
// go on, and waits until the server has closed the last one. The result has the
// time from resume to the last end, in which the generator does nothing: the
// server has the machine for itself.
//
// The backlog may be smaller than count. Then there are fewer connections.
func Burst(ctx context.Context, addr netip.AddrPort, sources *Sources, count int, resume func() error) (*Result, error) {
	t, err := newTarget(addr)
	if err != nil {
		return nil, err
	}
	t.sources = sources
	r := newResult()
	fds := make([]int, 0, count)
	defer func() {
		for _, fd := range fds {
			reset(fd)
		}
	}()
	for len(fds) < count && ctx.Err() == nil {
		fd, err := t.connect()
		if err != nil {
			return nil, fmt.Errorf("connect to %v: %w", addr, err)
		}
		// The handshake of a connection that the backlog has room for is over.
		if ready, err := wait(fd, unix.POLLOUT, 0); err != nil || !ready {
			reset(fd)
			break
		}
		fds = append(fds, fd)
	}
	begun := time.Now()
	if err := resume(); err != nil {
		return nil, err
	}
	// The last one first: it is closed last, or nearly so. Each look before the
	// end would take time from the server.
	for i := range fds {
		fd := fds[len(fds)-1-i]
		waited, err := r.refused(ctx, fd)
		if err != nil {
			return nil, err
		}
		if waited || i == 0 {
			r.Elapsed = time.Since(begun)
		}
	}
	return r, nil
}

// refused waits for the end of one connection and counts it.
func (r *Result) refused(ctx context.Context, fd int) (waited bool, err error) {
	for deadline := time.Now().Add(timeout); ; {
		switch done, err := r.look(fd); {
		case done || err != nil:
			return waited, err
		case ctx.Err() != nil:
			return waited, context.Cause(ctx)
		case time.Now().After(deadline):
			r.Errors[kind(errTimeout)]++
			return waited, nil
		}
		waited = true
		// Not for longer, so that a cancelled context is noticed.
		if _, err := wait(fd, unix.POLLIN, 100*time.Millisecond); err != nil {
			return waited, err
		}
	}
}

// look counts a connection if it has ended.
func (r *Result) look(fd int) (done bool, err error) {
	var buffer [64]byte
	n, err := unix.Read(fd, buffer[:])
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return false, nil
	case n > 0:
		r.Errors[kind(errServed)]++
	case err == nil || err == unix.ECONNRESET:
		r.Done++
	default:
		r.Errors[kind(err)]++
	}
	return true, nil
}

// wait waits for events of one descriptor.
func wait(fd int, events int16, d time.Duration) (bool, error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
	n, err := unix.Poll(fds, int(d.Milliseconds()))
	if err == unix.EINTR {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("wait for a connection: %w", err)
	}
	return n > 0, nil
}

// A Flood is a number of clients that are refused and come again at once, beside
// another load. Its thread has the least priority there is: those who flood a
// server have other machines, and take none of its processor time.
type Flood struct {
	cancel context.CancelFunc
	done   chan struct{}
	result *Result
	err    error
}

// StartFlood starts a flood. The caller stops it.
func StartFlood(ctx context.Context, addr netip.AddrPort, sources *Sources, clients int) (*Flood, error) {
	t, err := newTarget(addr)
	if err != nil {
		return nil, err
	}
	t.sources = sources
	p, err := newPoll()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	f := &Flood{cancel: cancel, done: make(chan struct{}), result: newResult()}
	go func() {
		defer close(f.done)
		defer p.close()
		f.err = osthread.Run(func() error {
			_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 19)
			return f.run(ctx, t, p, clients)
		})
	}()
	return f, nil
}

// Stop ends the flood and returns what it has seen.
func (f *Flood) Stop() (*Result, error) {
	f.cancel()
	<-f.done
	return f.result, f.err
}

func (f *Flood) run(ctx context.Context, t *target, p *poll, clients int) error {
	fds := make([]int, 0, clients)
	began := make([]time.Time, clients)
	for range clients {
		fds = append(fds, -1)
	}
	defer func() {
		for _, fd := range fds {
			if fd >= 0 {
				reset(fd)
			}
		}
	}()
	start := time.Now()
	defer func() { f.result.Elapsed = time.Since(start) }()
	for ctx.Err() == nil && f.result.Failed() < maxFailures {
		now := time.Now()
		for i := range fds {
			if fds[i] >= 0 && now.Sub(began[i]) > timeout {
				f.result.Errors[kind(errTimeout)]++
				reset(fds[i])
				fds[i] = -1
			}
			if fds[i] < 0 {
				if err := f.begin(t, p, &fds[i], i); err != nil {
					return err
				}
				began[i] = now
			}
		}
		events, err := p.wait()
		if err != nil {
			return err
		}
		for _, e := range events {
			if e.Fd == timerKey || fds[e.Fd] < 0 {
				continue
			}
			done, err := f.result.look(fds[e.Fd])
			if err != nil {
				return err
			}
			if done {
				reset(fds[e.Fd])
				fds[e.Fd] = -1
			}
		}
	}
	return nil
}

// begin opens one connection. Its failure is counted.
func (f *Flood) begin(t *target, p *poll, fd *int, key int) error {
	conn, err := t.connect()
	if err != nil {
		f.result.Errors[kind(err)]++
		return nil
	}
	if err := p.add(conn, key, unix.EPOLLIN|unix.EPOLLRDHUP); err != nil {
		reset(conn)
		return fmt.Errorf("watch a connection: %w", err)
	}
	*fd = conn
	return nil
}
