package load

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

const (
	bulkChunk = 256 << 10
	// bulkAhead bounds what is on its way: enough to fill both socket buffers,
	// so that the server is never out of work.
	bulkAhead = 8 << 20
)

// pattern is what a bulk stream repeats: lines of 1,024 bytes, each different,
// so that lost, doubled and exchanged blocks are noticed. It is long enough
// for a whole chunk from any offset.
var pattern = func() []byte {
	p := make([]byte, 0, 2*bulkChunk)
	for line := 0; len(p) < 2*bulkChunk; line = (line + 1) % (bulkChunk / 1024) {
		start := len(p)
		p = fmt.Appendf(p, "%06d ", line)
		for len(p)-start < 1023 {
			p = append(p, 'a'+byte((len(p)-start+line)%26))
		}
		p = append(p, '\n')
	}
	return p
}()

// Bulk sends one stream for d, or until count bytes are sent when count is not
// 0, then half-closes and receives the rest. The server must close after it.
// Elapsed ends with the last byte received.
func Bulk(ctx context.Context, addr netip.AddrPort, count int64, d time.Duration) (*Result, error) {
	t, err := newTarget(addr)
	if err != nil {
		return nil, err
	}
	p, err := newPoll()
	if err != nil {
		return nil, err
	}
	defer p.close()
	b := &bulk{poll: p, result: newResult(), buffer: make([]byte, bulkChunk)}
	err = quiet(func() error {
		start := time.Now()
		err := b.run(ctx, t, start, count, d)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		b.result.Elapsed = b.last.Sub(start)
		if err != nil {
			b.result.Errors[kind(err)]++
			return nil
		}
		b.result.Done = 1
		return nil
	})
	return b.result, err
}

type bulk struct {
	fd     int
	poll   *poll
	result *Result
	buffer []byte
	sent   int64
	ended  bool // half-closed
	last   time.Time
}

// run returns nil when everything came back and the server closed after it.
func (b *bulk) run(ctx context.Context, t *target, start time.Time, count int64, d time.Duration) (err error) {
	if b.fd, err = t.connect(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			reset(b.fd)
		} else {
			unix.Close(b.fd)
		}
	}()
	watch := uint32(unix.EPOLLIN | unix.EPOLLOUT)
	if err := b.poll.add(b.fd, 0, watch); err != nil {
		return err
	}
	b.last = start
	for ctx.Err() == nil {
		events, err := b.poll.wait()
		if err != nil {
			return err
		}
		now := time.Now()
		if now.Sub(b.last) > timeout {
			return errTimeout
		}
		over := now.Sub(start) >= d || (count > 0 && b.sent >= count)
		if over && !b.ended {
			b.ended = true
			if err := unix.Shutdown(b.fd, unix.SHUT_WR); err != nil {
				return err
			}
		}
		// Level-triggered writability would wake without end while nothing may
		// be sent, so it is asked for only when sending is.
		want := uint32(unix.EPOLLIN)
		if !b.ended && b.sent-b.result.Bytes < bulkAhead {
			want |= unix.EPOLLOUT
		}
		if want != watch {
			watch = want
			if err := b.poll.modify(b.fd, 0, watch); err != nil {
				return err
			}
		}
		if len(events) == 0 {
			continue
		}
		done, err := b.receive(now)
		if done || err != nil {
			return err
		}
		if watch&unix.EPOLLOUT != 0 {
			if err := b.send(); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

func (b *bulk) send() error {
	from := b.sent % bulkChunk
	n, err := unix.SendmsgN(b.fd, pattern[from:from+bulkChunk], nil, nil, unix.MSG_NOSIGNAL)
	if err == unix.EAGAIN || err == unix.EINTR {
		return nil
	}
	if err != nil {
		return err
	}
	b.sent += int64(n)
	return nil
}

// receive takes one chunk; done means that the stream has ended as it should.
func (b *bulk) receive(now time.Time) (done bool, err error) {
	n, err := unix.Read(b.fd, b.buffer)
	if err == unix.EAGAIN || err == unix.EINTR {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if n == 0 {
		if !b.ended || b.result.Bytes != b.sent {
			return false, errEarly
		}
		return true, nil
	}
	from := b.result.Bytes % bulkChunk
	if b.result.Bytes+int64(n) > b.sent || !bytes.Equal(b.buffer[:n], pattern[from:from+int64(n)]) {
		return false, errWrong
	}
	b.result.Bytes += int64(n)
	b.last = now
	return false, nil
}
