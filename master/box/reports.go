package box

import (
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/box/observe"
	"github.com/preforkd/preforkd/master/box/stub"
)

// reports takes in why entries have failed. All of them write to one datagram
// socket, whose datagrams carry the sender's pid (SO_PASSCRED, unix(7)). What an
// entry has written is there when its process has ended.
type reports struct {
	in  int // non-blocking
	out int // blocking: an entry waits until its report fits in

	mu   sync.Mutex // guards what follows
	file *os.File   // out, nil until it is needed
	read map[int]stub.Failure
	// listeners gets the listeners of filters that entries send. Without one they are closed.
	listeners *observe.Observer
}

// maxReports bounds the reports that nobody has asked for.
const maxReports = 4096

func newReports() (*reports, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	r := &reports{in: fds[0], out: fds[1], read: map[int]stub.Failure{}}
	if err := unix.SetsockoptInt(r.in, unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		r.close()
		return nil, os.NewSyscallError("setsockopt", err)
	}
	return r, nil
}

func (r *reports) close() {
	unix.Close(r.in)
	if r.file != nil {
		r.file.Close()
	} else {
		unix.Close(r.out)
	}
}

// sender returns the socket that entries write to. It stays the owner's of the reports.
func (r *reports) sender() *os.File {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		r.file = os.NewFile(uintptr(r.out), "report")
	}
	return r.file
}

// take returns what a process has reported that has ended, once.
func (r *reports) take(pid int) (stub.Failure, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.receive()
	f, ok := r.read[pid]
	delete(r.read, pid)
	return f, ok
}

// collect takes in what there is.
func (r *reports) collect() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.receive()
}

// sendListeners says who gets the listeners.
func (r *reports) sendListeners(to *observe.Observer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listeners = to
}

// await waits for the report of a process. It also ends when another process does, of
// which it has a pidfd, or -1.
func (r *reports) await(pid, pidfd int, timeout time.Duration) (stub.Failure, bool) {
	poll := []unix.PollFd{{Fd: int32(r.in), Events: unix.POLLIN}, {Fd: int32(pidfd), Events: unix.POLLIN}}
	for deadline := time.Now().Add(timeout); ; {
		n, err := unix.Poll(poll, int(max(0, time.Until(deadline))/time.Millisecond))
		if err == unix.EINTR {
			continue
		}
		// A listener may come first.
		f, reported := r.take(pid)
		if reported || n <= 0 || poll[1].Revents != 0 {
			return f, reported
		}
	}
}

// receive reads what there is. The lock is held.
func (r *reports) receive() {
	var message [64]byte
	control := make([]byte, unix.CmsgSpace(unix.SizeofUcred)+unix.CmsgSpace(4))
	for {
		n, cn, _, _, err := unix.Recvmsg(r.in, message[:], control, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return
		}
		pid, fd, err := sender(control[:cn])
		if number, ok := stub.ParseListener(message[:n]); ok && err == nil && fd >= 0 && r.listeners != nil {
			r.listeners.Accept(pid, fd, number)
			continue
		}
		if fd >= 0 {
			unix.Close(fd)
		}
		if err != nil {
			continue
		}
		failure, err := stub.ParseFailure(message[:n])
		if err == nil && len(r.read) < maxReports {
			r.read[pid] = failure
		}
	}
}

// sender returns who has sent a message, and the descriptor that came with it, which is
// the caller's then, or -1.
func sender(control []byte) (pid, fd int, err error) {
	fd = -1
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return 0, fd, err
	}
	for i := range messages {
		switch messages[i].Header.Type {
		case unix.SCM_RIGHTS:
			if fds, err := unix.ParseUnixRights(&messages[i]); err == nil && len(fds) == 1 {
				fd = fds[0]
			}
		case unix.SCM_CREDENTIALS:
			c, err := unix.ParseUnixCredentials(&messages[i])
			if err != nil {
				return 0, fd, err
			}
			pid = int(c.Pid)
		}
	}
	if pid == 0 {
		err = errors.New("a report without credentials")
	}
	return pid, fd, err
}
