package sockdiag

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// timeout is how long a whole answer may take.
const timeout = 2 * time.Second

// bufferSize is the size of the largest datagram that the kernel writes. The
// kernel never writes more than 32 KiB, or more than the reader has room for
// (netlink_dump in net/netlink/af_netlink.c).
const bufferSize = 32 << 10

// A dumper is a netlink socket for dump requests, one after the other.
type dumper struct {
	fd       int
	sequence uint32
	buffer   []byte
}

// open makes a dumper. The caller must call close.
func open() (*dumper, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("open a socket of sock_diag: %w", err)
	}
	// The kernel answers during the system call that asks. The timeout is only
	// for a kernel that does not.
	limit := unix.NsecToTimeval(timeout.Nanoseconds())
	for _, option := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, option, &limit); err != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("set the timeout of a socket of sock_diag: %w", err)
		}
	}
	return &dumper{fd: fd, buffer: make([]byte, bufferSize)}, nil
}

func (d *dumper) close() { unix.Close(d.fd) }

// errSlow reports an answer that took too long.
var errSlow = fmt.Errorf("no end of the kernel's answer after %v", timeout)

// dump sends a request and calls each for every socket of the answer. The
// function each must not keep its argument.
func (d *dumper) dump(request []byte, each func(socket []byte) error) error {
	return d.ask(unix.NLM_F_DUMP, request, each)
}

// get sends a request for one socket and calls each for it. It returns
// ErrNoConnection if there is none.
func (d *dumper) get(request []byte, each func(socket []byte) error) error {
	found := false
	err := d.ask(0, request, func(socket []byte) error {
		found = true
		if err := each(socket); err != nil {
			return err
		}
		return errOne
	})
	switch {
	case found && err == errOne:
		return nil
	case errors.Is(err, errNoModule):
		return ErrNoConnection // of one socket the same error says that it is not there
	}
	return err
}

// errOne ends an answer that has no end of its own.
var errOne = errors.New("one socket")

// ask sends a request with flags, and calls each for every socket of the answer.
func (d *dumper) ask(flags uint16, request []byte, each func(socket []byte) error) error {
	d.sequence++
	message := makeMessage(d.sequence, flags, request)
	kernel := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	if err := retryEINTR(func() error { return unix.Sendto(d.fd, message, 0, kernel) }); err != nil {
		return fmt.Errorf("ask sock_diag: %w", err)
	}
	for end := time.Now().Add(timeout); ; {
		n, from, err := d.receive()
		switch {
		case errors.Is(err, unix.EAGAIN), err == nil && time.Now().After(end):
			return errSlow
		case err != nil:
			return fmt.Errorf("read the answer of sock_diag: %w", err)
		case from != 0:
			continue // the kernel has port 0; root may also write to this socket
		}
		done, err := parse(d.buffer[:n], d.sequence, each)
		if done || err != nil {
			return err
		}
	}
}

// receive reads one datagram and returns its length and the port of its sender.
func (d *dumper) receive() (n int, port uint32, err error) {
	var flags int
	var from unix.Sockaddr
	err = retryEINTR(func() error {
		n, _, flags, from, err = unix.Recvmsg(d.fd, d.buffer, nil, 0)
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	if flags&unix.MSG_TRUNC != 0 {
		return 0, 0, fmt.Errorf("a datagram of more than %d bytes", len(d.buffer))
	}
	if from, ok := from.(*unix.SockaddrNetlink); ok {
		port = from.Pid
	}
	return n, port, nil
}

// retryEINTR repeats a system call as long as signals interrupt it.
func retryEINTR(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
