package systest

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// An FD is an open descriptor of a process.
type FD struct {
	Number int
	Target string // as /proc/PID/fd shows it: "/dev/null", "socket:[4711]", ...
	Flags  int    // as /proc/PID/fdinfo shows them: unix.O_NONBLOCK, unix.O_CLOEXEC, ...
	PID    int    // of the process that a pidfd is of; 0 otherwise
}

func (f FD) String() string {
	s := fmt.Sprintf("%d -> %s", f.Number, f.Target)
	if f.NonBlocking() {
		s += " O_NONBLOCK"
	}
	if f.CloseOnExec() {
		s += " O_CLOEXEC"
	}
	return s
}

// NonBlocking reports O_NONBLOCK, which all duplicates of a descriptor share.
func (f FD) NonBlocking() bool { return f.Flags&unix.O_NONBLOCK != 0 }

// CloseOnExec reports FD_CLOEXEC.
func (f FD) CloseOnExec() bool { return f.Flags&unix.O_CLOEXEC != 0 }

// FDs returns the open descriptors of a process by ascending number. Those
// that close while it looks are left out.
func FDs(pid int) []FD {
	paths, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	var fds []FD
	for _, path := range paths {
		n, err := strconv.Atoi(filepath.Base(path))
		if err != nil {
			continue
		}
		target, err := os.Readlink(path)
		if err != nil {
			continue
		}
		info, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", pid, n))
		if err != nil {
			continue
		}
		fd := FD{Number: n, Target: target}
		for line := range strings.Lines(string(info)) {
			if pid, ok := strings.CutPrefix(line, "Pid:"); ok {
				fd.PID, _ = strconv.Atoi(strings.TrimSpace(pid))
			}
			if flags, ok := strings.CutPrefix(line, "flags:"); ok {
				v, _ := strconv.ParseInt(strings.TrimSpace(flags), 8, 64)
				fd.Flags = int(v)
			}
		}
		fds = append(fds, fd)
	}
	slices.SortFunc(fds, func(a, b FD) int { return cmp.Compare(a.Number, b.Number) })
	return fds
}

// A Socket is a duplicate of another process's socket. Close it.
type Socket struct{ fd int }

// DuplicateSocket duplicates descriptor fd of process pid: what it answers to
// is what the process itself would be told. It needs the right to trace pid.
func DuplicateSocket(pid, fd int) (*Socket, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("open pidfd of %d: %w", pid, err)
	}
	defer unix.Close(pidfd)
	dup, err := unix.PidfdGetfd(pidfd, fd, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate fd %d of %d: %w", fd, pid, err)
	}
	return &Socket{dup}, nil
}

// Close closes the duplicate.
func (s *Socket) Close() { unix.Close(s.fd) }

// Option returns an integer socket option, or -1 when the socket has no such one.
func (s *Socket) Option(level, name int) int {
	v, err := unix.GetsockoptInt(s.fd, level, name)
	if err != nil {
		return -1
	}
	return v
}

// Backlog returns the backlog of a listening TCP socket, for which the kernel
// puts it in a field of struct tcp_info that listeners have no other use for
// (tcp_get_info in net/ipv4/tcp.c).
func (s *Socket) Backlog() int {
	info, err := unix.GetsockoptTCPInfo(s.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return -1
	}
	return int(info.Sacked)
}

// Peer returns the port of the socket's TCP peer, or 0 when it has none.
func (s *Socket) Peer() int {
	name, err := unix.Getpeername(s.fd)
	if err != nil {
		return 0
	}
	switch a := name.(type) {
	case *unix.SockaddrInet4:
		return a.Port
	case *unix.SockaddrInet6:
		return a.Port
	}
	return 0
}

// SocketsOf returns duplicates of all sockets of a process, by descriptor.
// The caller closes them.
func SocketsOf(pid int) map[int]*Socket {
	sockets := map[int]*Socket{}
	for _, fd := range FDs(pid) {
		if strings.HasPrefix(fd.Target, "socket:") {
			if s, err := DuplicateSocket(pid, fd.Number); err == nil {
				sockets[fd.Number] = s
			}
		}
	}
	return sockets
}
