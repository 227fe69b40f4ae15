package listen

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/sockdiag"
)

// Adopt makes a listener of a socket that a service manager has bound. The
// listener has a descriptor of its own; the caller keeps fd, and the socket
// lives on when the listener is closed. The socket is never shut down and its
// file never removed.
//
// It is one that Check has no objection to.
func Adopt(fd int, o Options) (*Listener, error) {
	l, err := newDuplicate(fd)
	if err != nil {
		return nil, err
	}
	l.adopted = true
	if err := l.Apply(o); err != nil {
		l.Close()
		return nil, fmt.Errorf("set socket options: %w", err)
	}
	return l, nil
}

// newDuplicate makes a listener of a duplicate of a listening socket, for which
// the open file description turns non-blocking: a process that accepts from it
// after this one finds it so, as it would find systemd's.
func newDuplicate(fd int) (*Listener, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(dup, true); err != nil {
		unix.Close(dup)
		return nil, err
	}
	return newListener(dup)
}

// Check reports why a descriptor cannot be listened with, in words that follow
// what it is called, or nil.
func Check(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return errors.New("is not a socket: the socket unit needs ListenStream=")
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		// x/sys does not know every family there is.
		return fmt.Errorf("is a socket of a family that cannot be served (%w): the socket unit needs ListenStream= with a TCP or unix address", err)
	}
	switch name.(type) {
	case *unix.SockaddrInet4, *unix.SockaddrInet6, *unix.SockaddrUnix:
	default:
		return errors.New("is neither a TCP nor a unix socket: the socket unit needs ListenStream= with such an address")
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return err
	}
	switch kind {
	case unix.SOCK_STREAM:
	case unix.SOCK_DGRAM:
		return errors.New("is a datagram socket: the socket unit needs ListenStream= in place of ListenDatagram=")
	case unix.SOCK_SEQPACKET:
		return errors.New("is a sequential packet socket: the socket unit needs ListenStream= in place of ListenSequentialPacket=")
	default:
		return fmt.Errorf("is a socket of type %d: the socket unit needs ListenStream=", kind)
	}
	listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return err
	}
	if listening != 0 {
		return nil
	}
	if _, err := unix.Getpeername(fd); err == nil {
		return errors.New("is a connection: the socket unit has Accept=yes, which starts a process for each connection itself; preforkd needs Accept=no")
	}
	return errors.New("is a socket that does not listen")
}

// Retake makes listeners of the sockets that an earlier process of the service
// had opened for addr with Open and left with the service manager. resolved is
// what Resolve makes of addr now. Retake fails when they are not what
// OpenResolved would open; then the caller opens others. The caller keeps the
// descriptors either way.
func Retake(addr config.Address, resolved []config.Address, o Options, fds []int) (listeners []*Listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range listeners {
				l.leaveFile()
			}
			CloseAll(listeners)
			listeners = nil
		}
	}()
	if len(resolved) != len(fds) {
		return nil, fmt.Errorf("%d sockets are stored for %d addresses", len(fds), len(resolved))
	}
	found := map[config.Address]bool{}
	for _, fd := range fds {
		if err := Check(fd); err != nil {
			return listeners, err
		}
		l, err := newDuplicate(fd)
		if err != nil {
			return listeners, err
		}
		listeners = append(listeners, l)
		for _, w := range resolved {
			if !found[w] && l.isAt(w) {
				found[w] = true
				break
			}
		}
		every := addr.Host == "" && !addr.IP.IsValid()
		if !l.boundAs(fd, o, o.V6Only && !every) {
			return listeners, fmt.Errorf("the stored socket %s was bound with other options", l.Local())
		}
		if addr.IsUnix() {
			if err := l.findFile(); err != nil {
				return listeners, err
			}
		}
		if err := l.Apply(o); err != nil {
			return listeners, fmt.Errorf("set socket options: %w", err)
		}
	}
	if len(found) != len(resolved) {
		return listeners, errors.New("the stored sockets are bound to other addresses")
	}
	return listeners, nil
}

// isAt reports whether the listener is what Open makes of an address.
func (l *Listener) isAt(a config.Address) bool {
	if a.IsUnix() || l.path != "" {
		return l.path == a.Path
	}
	ip := a.IP
	if !ip.IsValid() {
		// Every address: one socket of both families, or IPv4 alone.
		ip = netip.IPv6Unspecified()
		if l.local.Addr().Is4() {
			ip = netip.IPv4Unspecified()
		}
	}
	return l.local.Addr().WithZone("") == ip.WithZone("") && (a.Port == 0 || l.local.Port() == a.Port)
}

// boundAs reports whether a TCP socket was bound with the options that cannot
// be changed any more. v6only is whether one of [::] leaves IPv4 to others.
func (l *Listener) boundAs(fd int, o Options, v6only bool) bool {
	if l.path != "" {
		return true
	}
	is := func(level, name int, want bool) bool {
		v, err := unix.GetsockoptInt(fd, level, name)
		return err == nil && (v != 0) == want
	}
	device, err := unix.GetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE)
	return err == nil && strings.TrimRight(device, "\x00") == o.BindToDevice &&
		(l.local.Addr().Is4() || is(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, v6only)) &&
		is(unix.SOL_SOCKET, unix.SO_REUSEPORT, o.ReusePort) && is(unix.IPPROTO_IP, unix.IP_FREEBIND, o.FreeBind)
}

// findFile finds the file of a retaken unix socket, so that Close can remove
// it. A socket without its file, or with somebody else's in its place, is one
// that nobody can connect to any more.
func (l *Listener) findFile() error {
	if strings.HasPrefix(l.path, "@") {
		return nil
	}
	dir, err := openDirectory(l.path)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	err = unix.Fstatat(dir.fd, filepath.Base(l.path), &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		err = errors.New("not a socket")
	}
	if err == nil {
		// A kernel or a sandbox without sock_diag leaves it at the path.
		if inode, diagErr := l.Inode(); diagErr == nil {
			if file, diagErr := sockdiag.FileOf(inode); diagErr == nil && file != uint32(st.Ino) {
				err = errors.New("it is another socket's")
			}
		}
	}
	if err != nil {
		dir.close()
		return fmt.Errorf("the stored socket's file %s: %w", l.path, err)
	}
	l.bound = &boundPath{dir: dir, path: l.path, dev: uint64(st.Dev), ino: st.Ino}
	return nil
}

// leaveFile makes Close leave the file of a unix socket where it is.
func (l *Listener) leaveFile() {
	if l.bound != nil {
		l.bound.dir.close()
		l.bound = nil
	}
}

// CloseStored is Close for a listener of which a service manager may have a
// duplicate: then the file of a unix socket stays, for whoever gets that next.
func (l *Listener) CloseStored() error {
	if l.bound == nil {
		return l.Close()
	}
	bound := l.bound
	l.bound = nil
	err := l.Close()
	if held, heldErr := isListened(bound.path); held || heldErr != nil {
		bound.dir.close()
		return errors.Join(err, heldErr)
	}
	if removed := bound.remove(); removed != nil {
		err = errors.Join(err, fmt.Errorf("remove %s: %w", bound.path, removed))
	}
	return err
}

// isListened reports whether there is a listening unix socket of a path, by the
// kernel's list (proc_net(5)): a test by connecting would be a connection that
// somebody has to serve.
func isListened(path string) (bool, error) {
	list, err := os.Open("/proc/self/net/unix")
	if err != nil {
		return false, err
	}
	defer list.Close()
	lines := bufio.NewScanner(list)
	for lines.Scan() {
		// Num RefCount Protocol Flags Type St Inode Path
		rest, found := strings.CutSuffix(lines.Text(), " "+path)
		if fields := strings.Fields(rest); found && len(fields) == 7 && fields[3] == "00010000" { // __SO_ACCEPTCON
			return true, nil
		}
	}
	return false, lines.Err()
}

// Descriptor calls f with the listener's descriptor, which f must not keep.
func (l *Listener) Descriptor(f func(fd int) error) error {
	var failure error
	if err := l.raw.Control(func(fd uintptr) { failure = f(int(fd)) }); err != nil {
		return err
	}
	return failure
}
