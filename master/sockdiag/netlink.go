package sockdiag

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long an answer may take as a whole.
const patience = 2 * time.Second

// bufferSize holds every message that the kernel writes at once: never more
// than 32 KiB, and never more than the reader has room for (netlink_dump in
// net/netlink/af_netlink.c).
const bufferSize = 32 << 10

// A dumper is a netlink socket that dumps are asked of, one after the other.
type dumper struct {
	fd       int
	sequence uint32
	buffer   []byte
}

// open makes a dumper. The caller closes it.
func open() (*dumper, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("open a socket of sock_diag: %w", err)
	}
	// The kernel answers while it is asked. This is for the case that it does
	// not, and for no other.
	timeout := unix.NsecToTimeval(patience.Nanoseconds())
	for _, option := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, option, &timeout); err != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("set the timeout of a socket of sock_diag: %w", err)
		}
	}
	return &dumper{fd: fd, buffer: make([]byte, bufferSize)}, nil
}

func (d *dumper) close() { unix.Close(d.fd) }

// errSlow reports an answer that took too long.
var errSlow = fmt.Errorf("no end of the kernel's answer after %v", patience)

// dump sends a request and gives every socket of the answer to each, which must
// not keep it.
func (d *dumper) dump(request []byte, each func(socket []byte) error) error {
	d.sequence++
	message := makeMessage(d.sequence, request)
	kernel := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	if err := ignoringEINTR(func() error { return unix.Sendto(d.fd, message, 0, kernel) }); err != nil {
		return fmt.Errorf("ask sock_diag: %w", err)
	}
	for end := time.Now().Add(patience); ; {
		n, from, err := d.receive()
		switch {
		case errors.Is(err, unix.EAGAIN), err == nil && time.Now().After(end):
			return errSlow
		case err != nil:
			return fmt.Errorf("read the answer of sock_diag: %w", err)
		case from != 0:
			continue // root may write to this socket; the kernel is port 0
		}
		done, err := parse(d.buffer[:n], d.sequence, each)
		if done || err != nil {
			return err
		}
	}
}

// receive reads one datagram and returns the port that it came from.
func (d *dumper) receive() (n int, port uint32, err error) {
	var flags int
	var from unix.Sockaddr
	err = ignoringEINTR(func() error {
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

// ignoringEINTR repeats a system call that a signal has interrupted.
func ignoringEINTR(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
