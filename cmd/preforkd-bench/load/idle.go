package load

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	idleAtOnce = 64               // connections that are being opened at the same time
	idleLimit  = 90 * time.Second // for opening all

	// closeAtOnce is how many connections are closed before their workers must
	// have ended. Linux 6.18 can dead-lock when thousands of processes that
	// have a seccomp filter end in the same instant (in bpf_prog_pack_free).
	closeAtOnce = 128
)

// Idle is a set of open connections that do nothing. Each has echoed one
// message, so each is known to be served.
type Idle struct {
	Result *Result
	fds    []int
	pace   func(open int)
}

// OpenIdle opens count connections, exchanges a message on each and leaves
// them open. The caller closes the set; after an error there is none.
//
// While the set is closed, pace is called with the number of connections that
// are still open, before the first and after every closeAtOnce of them. It
// returns when the server has ended the workers of the others, or when it is
// no use to wait for that.
func OpenIdle(ctx context.Context, addr netip.AddrPort, count int, pace func(open int)) (_ *Idle, err error) {
	e, err := newEngine(addr, idleAtOnce)
	if err != nil {
		return nil, err
	}
	idle := &Idle{Result: e.result, pace: pace}
	// What is half open goes first, so that pace counts what is left.
	defer func() {
		e.close()
		if err != nil {
			idle.Close()
		}
	}()
	e.keep = func(fd int) { idle.fds = append(idle.fds, fd) }
	err = quiet(func() error {
		start := time.Now()
		e.begins(start)
		for begun := 0; begun < count || e.busy() > 0; {
			now := time.Now()
			if now.Sub(start) > idleLimit || e.result.Failed() >= maxFailures {
				break
			}
			for begun < count && len(e.free) > 0 {
				e.begin(now, now)
				begun++
				now = time.Now()
			}
			if err := e.turn(ctx, now); err != nil {
				return err
			}
		}
		// What was never begun within the limit is lost as well.
		if missing := count - e.result.Done - e.result.Failed(); missing > 0 {
			e.result.Errors[kind(errTimeout)] += missing
		}
		e.result.Elapsed = e.last.Sub(start)
		return nil
	})
	return idle, err
}

// Verify exchanges another message on every connection, one after the other,
// and returns how many of them still answer.
func (i *Idle) Verify(ctx context.Context) int {
	alive := 0
	for _, fd := range i.fds {
		if ctx.Err() != nil {
			break
		}
		if exchange(ctx, fd) {
			alive++
		}
	}
	return alive
}

func exchange(ctx context.Context, fd int) bool {
	if n, err := unix.SendmsgN(fd, Message, nil, nil, unix.MSG_NOSIGNAL); err != nil || n != len(Message) {
		return false
	}
	var buffer [4096]byte
	for got, deadline := 0, time.Now().Add(timeout); got < len(Message); {
		if ctx.Err() != nil || time.Now().After(deadline) {
			return false
		}
		// Not for longer, so that a cancelled context is noticed.
		wait := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(wait, 100); n == 0 || err == unix.EINTR {
			continue
		} else if err != nil {
			return false
		}
		n, err := unix.Read(fd, buffer[:])
		if n <= 0 || err != nil || got+n > len(Message) || !bytes.Equal(buffer[:n], Message[got:got+n]) {
			return false
		}
		got += n
	}
	return true
}

// Close closes all connections in order, at the pace at which the server ends
// their workers.
func (i *Idle) Close() {
	if len(i.fds) > 0 {
		i.pace(len(i.fds))
	}
	for batch := range slices.Chunk(i.fds, closeAtOnce) {
		for _, fd := range batch {
			unix.Close(fd)
		}
		i.fds = i.fds[len(batch):]
		i.pace(len(i.fds))
	}
}

// Limit returns how many connections this process can hold: its limit of open
// files, which the Go runtime has raised as far as it may, less what it needs
// for other things.
func Limit() (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("read limit of open files: %w", err)
	}
	return max(int(min(limit.Cur, 1<<20))-100, 0), nil
}
