package proxy

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrTimeout reports that the header did not come in time. ErrCanceled reports
// that Cancel has ended the wait.
var (
	ErrTimeout  = errors.New("PROXY header took too long")
	ErrCanceled = errors.New("wait for PROXY header canceled")
)

// A Reader waits for the header of one connection. It waits in Go's poller and
// needs no thread, so many Readers can wait at once.
type Reader struct {
	conn     int
	file     *os.File // a duplicate, registered with the poller
	canceled chan struct{}
}

// NewReader returns a reader for a connected stream socket in blocking mode.
// The caller keeps conn, must not use it before Close, and must call Close.
func NewReader(conn int) (*Reader, error) {
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
	return &Reader{conn: conn, file: os.NewFile(uintptr(dup), "connection"), canceled: make(chan struct{})}, nil
}

// Read waits for the header and takes it from the socket, and nothing after it.
// Errors wrap ErrMissing, ErrMalformed, ErrOversized, ErrTimeout or
// ErrCanceled, or they are those of system calls. Read may be called once.
func (r *Reader) Read(deadline time.Time) (Header, error) {
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
	var header []byte
	var failure error
	err = raw.Read(func(fd uintptr) bool {
		header, failure = peek(int(fd))
		return header != nil || failure != nil
	})
	select {
	case <-r.canceled:
		return Header{}, ErrCanceled
	default:
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return Header{}, ErrTimeout
	case err != nil:
		return Header{}, err
	case failure != nil:
		return Header{}, failure
	}
	h, err := Parse(header)
	if err != nil {
		return Header{}, err
	}
	// The whole header is in the socket, so one call takes all of it.
	n, _, err := unix.Recvfrom(r.conn, header, unix.MSG_DONTWAIT)
	if err != nil || n != len(header) {
		return Header{}, fmt.Errorf("take PROXY header of %d bytes: %d, %w", len(header), n, err)
	}
	return h, nil
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

// peek returns the header if the socket has all of it, and leaves it in the
// socket. Both results are nil if more must come.
func peek(fd int) ([]byte, error) {
	// Most headers fit. For a longer one the buffer grows and peek tries again.
	buf := make([]byte, 256)
	for {
		ended, err := hasEnded(fd) // before the read: then the read returns all that will come
		if err != nil {
			return nil, err
		}
		n, _, err := unix.Recvfrom(fd, buf, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN && !ended:
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("%w: %w", ErrMissing, err)
		}
		length, err := Length(buf[:n])
		switch {
		case err != nil:
			return nil, err
		case length > 0:
			return buf[:length], nil
		case n == len(buf) && n < MaxHeader:
			buf = make([]byte, MaxHeader)
			continue
		case ended && n == 0:
			return nil, fmt.Errorf("%w: the connection was closed", ErrMissing)
		case ended:
			return nil, fmt.Errorf("%w: cut short after %d bytes", ErrMalformed, n)
		}
		return nil, nil
	}
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
