package logging

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// An output is a private descriptor of the file that is logged to.
//
// Private, because a Go program that writes to a broken fd 1 or 2 through
// os.Stdout or os.Stderr dies of SIGPIPE (os/signal), while on other numbers it
// gets EPIPE: a terminal that goes away must not take the connections with it.
// The descriptor is used with plain system calls instead of os.File, since
// os.File asks for O_NONBLOCK once, at the start: the flag belongs to the open
// file and not to the descriptor, so whoever shares it, a shell or a worker,
// can turn it on later.
type output struct{ fd int }

// openOutput duplicates f's descriptor, to 3 or above and close-on-exec. The
// caller keeps f, and closes the output.
func openOutput(f *os.File) (*output, error) {
	// Not f.Fd(): it would clear O_NONBLOCK for everybody who shares the file.
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("log to %s: %w", f.Name(), err)
	}
	var fd int
	var dupErr error
	err = conn.Control(func(orig uintptr) {
		fd, dupErr = unix.FcntlInt(orig, unix.F_DUPFD_CLOEXEC, 3)
	})
	if err == nil {
		err = dupErr
	}
	if err != nil {
		return nil, fmt.Errorf("log to %s: duplicate: %w", f.Name(), err)
	}
	return &output{fd}, nil
}

func (o *output) isTerminal() bool {
	_, err := unix.IoctlGetTermios(o.fd, unix.TCGETS)
	return err == nil
}

// Write writes all of b, for as long as it takes, or returns how far it came
// and what stopped it.
func (o *output) Write(b []byte) (int, error) {
	written := 0
	for written < len(b) {
		n, err := unix.Write(o.fd, b[written:])
		if n > 0 {
			written += n
		}
		switch err {
		case nil, unix.EINTR:
		case unix.EAGAIN:
			// The file is non-blocking, by somebody else's choice. Errors of
			// poll show again in the next write.
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(o.fd), Events: unix.POLLOUT}}, -1)
		default:
			return written, err
		}
	}
	return written, nil
}

func (o *output) Close() error { return unix.Close(o.fd) }
