package logging

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// An output is a private descriptor of the log file.
//
// A Go program that writes to a broken fd 1 or 2 through os.Stdout or os.Stderr
// dies of SIGPIPE (os/signal). On other descriptors it gets EPIPE. The loss of
// a terminal must not end the connections, so the output has a descriptor of
// its own.
//
// It uses plain system calls and not os.File. os.File reads O_NONBLOCK once, at
// the start. The flag belongs to the open file description, so a shell or a
// worker that shares it can set it later.
type output struct{ fd int }

// openOutput duplicates the descriptor of f to a number of at least 3, with
// close-on-exec. The caller keeps f, and must close the output.
func openOutput(f *os.File) (*output, error) {
	// f.Fd() would clear O_NONBLOCK for every process that shares the file.
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

// Write writes all of b, however long that takes. On error it returns how many
// bytes it has written.
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
			// Another process has made the file non-blocking. The next write
			// returns an error of poll again.
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(o.fd), Events: unix.POLLOUT}}, -1)
		default:
			return written, err
		}
	}
	return written, nil
}

func (o *output) Close() error { return unix.Close(o.fd) }
