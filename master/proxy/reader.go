package proxy

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// ErrTimeout reports that the header did not come in time. ErrCanceled reports
// that Cancel has ended the wait, and ErrPaused that Pause has interrupted it. ErrNoMemory reports that the headers that are
// incomplete take all the memory there is for them.
var (
	ErrTimeout  = errors.New("PROXY header took too long")
	ErrCanceled = errors.New("wait for PROXY header canceled")
	ErrPaused   = errors.New("wait for PROXY header paused")
	ErrNoMemory = errors.New("no memory for a PROXY header")
)

// A Reader waits for the header of one connection. It waits in Go's poller and
// needs no thread, so many Readers can wait at once.
//
// A long header is taken from the socket as it comes. It could not stay there
// until it is complete: the largest one has more bytes than the kernel lets a
// peer send that nobody reads.
type Reader struct {
	conn     int
	file     *os.File // a duplicate, registered with the poller
	canceled chan struct{}
	paused   atomic.Bool
	budget   *Budget

	length  int    // of the header, 0 while it is not known
	buffer  []byte // what was taken of it
	seen    int    // bytes that have come
	claimed int    // bytes of the budget
}

// NewReader returns a reader for a connected stream socket in blocking mode.
// The caller keeps conn, must not use it before Close, and must call Close. The
// memory for a long header comes out of the budget.
func NewReader(conn int, budget *Budget) (*Reader, error) {
	// O_NONBLOCK is shared with the duplicate, and with the process that gets
	// the connection later. So Close clears it.
	dup, err := unix.FcntlInt(uintptr(conn), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate connection: %w", err)
	}
	if err := unix.SetNonblock(conn, true); err != nil {
		unix.Close(dup)
		return nil, fmt.Errorf("make connection non-blocking: %w", err)
	}
	return &Reader{conn: conn, file: os.NewFile(uintptr(dup), "connection"), canceled: make(chan struct{}), budget: budget}, nil
}

// Read waits for the header and takes it from the socket, and nothing after it.
// Errors wrap ErrMissing, ErrMalformed, ErrOversized, ErrTimeout, ErrNoMemory,
// ErrCanceled or ErrPaused, or they are those of system calls. Read may be called once,
// and again after ErrPaused.
func (r *Reader) Read(deadline time.Time) (h Header, err error) {
	defer func() {
		if err != ErrPaused {
			r.budget.release(r.claimed)
		}
	}()
	if r.length > 0 && len(r.buffer) == r.length {
		return Parse(r.buffer) // it has come before the last pause
	}
	raw, err := r.file.SyscallConn()
	if err != nil {
		return Header{}, err
	}
	if err := r.file.SetReadDeadline(deadline); err != nil {
		return Header{}, fmt.Errorf("set deadline: %w", err)
	}
	select {
	case <-r.canceled: // Cancel came first, and SetReadDeadline has undone its effect
		return Header{}, ErrCanceled
	default:
	}
	if r.paused.Load() { // so did Pause
		return Header{}, ErrPaused
	}
	var failure error
	err = raw.Read(func(fd uintptr) (done bool) {
		done, failure = r.advance(int(fd))
		return done || failure != nil
	})
	select {
	case <-r.canceled:
		return Header{}, ErrCanceled
	default:
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && r.paused.Load():
		return Header{}, ErrPaused
	case errors.Is(err, os.ErrDeadlineExceeded):
		return Header{}, r.timeout()
	case err != nil:
		return Header{}, err
	case failure != nil:
		return Header{}, failure
	}
	return Parse(r.buffer)
}

// timeout returns an error that says how far the header has come.
func (r *Reader) timeout() error {
	if r.length == 0 {
		return fmt.Errorf("%w: %d bytes have come", ErrTimeout, r.seen)
	}
	return fmt.Errorf("%w: %d of its %d bytes have come", ErrTimeout, r.seen, r.length)
}

// Cancel makes Read return. It may be called once, at any time before Close.
func (r *Reader) Cancel() {
	close(r.canceled)
	r.file.SetReadDeadline(time.Unix(1, 0))
}

// Close releases the reader and puts the connection back into blocking mode.
func (r *Reader) Close() error {
	r.file.Close()
	return unix.SetNonblock(r.conn, false)
}

// advance reads what has come. It reports whether the header is complete.
func (r *Reader) advance(fd int) (done bool, err error) {
	if r.length == 0 {
		if r.length, err = r.peek(fd); r.length == 0 {
			return false, err
		}
	}
	return r.take(fd)
}

const (
	// firstBuffer is enough for a line of version 1 and for most headers of
	// version 2.
	firstBuffer = 256
	// freeBuffer is what each header may take that comes out of no budget.
	freeBuffer = 4096
)

// peek returns the length of the header, and leaves all of it in the socket. The
// result is 0 if more must come before that is known.
func (r *Reader) peek(fd int) (length int, err error) {
	if r.buffer == nil {
		r.buffer = make([]byte, 0, firstBuffer)
	}
	buffer := r.buffer[:cap(r.buffer)]
	for {
		ended, err := hasEnded(fd) // before the read: then the read returns all that will come
		if err != nil {
			return 0, err
		}
		n, _, err := unix.Recvfrom(fd, buffer, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN && !ended:
			return 0, nil
		case err != nil:
			return 0, fmt.Errorf("%w: %w", ErrMissing, err)
		}
		r.seen = n
		length, err := Length(buffer[:n])
		switch {
		case err != nil || length > 0:
			return length, err
		case ended && n == 0:
			return 0, fmt.Errorf("%w: the connection was closed", ErrMissing)
		case ended:
			return 0, fmt.Errorf("%w: cut short after %d bytes: %s", ErrMalformed, n, quote(buffer[:n]))
		}
		return 0, nil
	}
}

// take takes the header from the socket, as far as it has come, and not a byte
// more. It reports whether that was all of it.
func (r *Reader) take(fd int) (done bool, err error) {
	for len(r.buffer) < r.length {
		if len(r.buffer) == cap(r.buffer) {
			if err := r.grow(); err != nil {
				return false, err
			}
		}
		room := r.buffer[len(r.buffer):min(cap(r.buffer), r.length)]
		n, _, err := unix.Recvfrom(fd, room, unix.MSG_DONTWAIT)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return false, nil
		case err != nil:
			return false, fmt.Errorf("%w: cut short after %d of %d bytes: %w", ErrMalformed, len(r.buffer), r.length, err)
		case n == 0:
			return false, fmt.Errorf("%w: cut short after %d of %d bytes", ErrMalformed, len(r.buffer), r.length)
		}
		r.buffer = r.buffer[:len(r.buffer)+n]
		r.seen = len(r.buffer)
	}
	return true, nil
}

// grow makes room for more of a header whose bytes have filled the buffer. What
// a header announces costs nothing before it comes.
func (r *Reader) grow() error {
	size := min(max(2*cap(r.buffer), freeBuffer), r.length)
	claim := max(size-freeBuffer, 0)
	if !r.budget.claim(claim - r.claimed) {
		return fmt.Errorf("%w of %d bytes: others that are incomplete take all %d bytes", ErrNoMemory, r.length, r.budget.limit)
	}
	r.claimed = claim
	r.buffer = append(make([]byte, 0, size), r.buffer...)
	return nil
}

// hasEnded reports whether the peer will send nothing more. A peek does not
// tell that while there are bytes before the end of the stream.
func hasEnded(fd int) (bool, error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	for {
		_, err := unix.Poll(fds, 0)
		if err == unix.EINTR {
			continue
		}
		return fds[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0, err
	}
}
