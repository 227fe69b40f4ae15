package listen

import (
	"bufio"
	"cmp"
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

// Adopt makes a listener of a socket that a service manager has bound. Check
// must have accepted the socket. The listener has a descriptor of its own, and
// the caller keeps fd. When the listener is closed, the socket stays open, and
// the file of a unix socket stays.
func Adopt(fd int, o Options) (*Listener, error) {
	l, err := listenerOfDuplicate(fd)
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

// listenerOfDuplicate makes a listener of a duplicate of a listening socket.
// The open file description becomes non-blocking. So it is also non-blocking
// for a process that accepts from it later, as sockets from systemd are.
func listenerOfDuplicate(fd int) (*Listener, error) {
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

// Check returns why a descriptor is not a listening socket that a listener can
// use, or nil. The text of the error follows the name of the descriptor.
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
		// x/sys does not know all address families.
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

// ReuseStored makes listeners of sockets that an earlier process has opened for
// addr with Open, and has stored with the service manager. The caller passes
// what Resolve returns for addr now. ReuseStored fails when OpenResolved would
// make other sockets. Then the caller must open new ones. In both cases the
// caller keeps the descriptors.
func ReuseStored(addr config.Address, resolved []config.Address, o Options, fds []int) (listeners []*Listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range listeners {
				l.keepFile()
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
		l, err := listenerOfDuplicate(fd)
		if err != nil {
			return listeners, err
		}
		listeners = append(listeners, l)
		if err := l.lostInterface(); err != nil {
			return listeners, fmt.Errorf("the stored socket %s: %w", l.Local(), err)
		}
		var at config.Address
		for _, w := range resolved {
			if !found[w] && l.isAt(w) {
				found[w], at = true, w
				break
			}
		}
		isAny := addr.Host == "" && !addr.IP.IsValid()
		if !l.hasBindOptions(fd, o, o.V6Only && !isAny, at.IP.Zone()) {
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

// isAt reports whether the listener is bound as Open would bind it for an
// address. An IPv6 zone must be the interface that it names now.
func (l *Listener) isAt(a config.Address) bool {
	if a.IsUnix() || l.path != "" {
		return l.path == a.Path
	}
	ip := a.IP
	if !ip.IsValid() {
		// All addresses: one socket of both families, or of IPv4 alone.
		ip = netip.IPv6Unspecified()
		if l.local.Addr().Is4() {
			ip = netip.IPv4Unspecified()
		}
	}
	if l.local.Addr().WithZone("") != ip.WithZone("") || a.Port != 0 && l.local.Port() != a.Port {
		return false
	}
	isZone := true
	if zone := ip.Zone(); zone != "" {
		_ = l.descriptor.Control(func(fd uintptr) { isZone = zoneIndex(int(fd), zone) == l.index })
	}
	return isZone
}

// hasBindOptions reports whether a TCP socket has those options of o that
// cannot be changed after bind. The argument v6only says whether a socket of
// [::] should not have the IPv4 addresses.
//
// The kernel does not tell a socket that was bound to a device from one whose
// link-local address has that device as its zone. Both are the same to it.
func (l *Listener) hasBindOptions(fd int, o Options, v6only bool, zone string) bool {
	if l.path != "" {
		return true
	}
	has := func(level, name int, want bool) bool {
		v, err := unix.GetsockoptInt(fd, level, name)
		return err == nil && (v != 0) == want
	}
	index := 0
	if name := cmp.Or(o.BindToDevice, zone); name != "" {
		if index = zoneIndex(fd, name); index == 0 {
			return false // there is no such interface
		}
	}
	return l.index == index &&
		(l.local.Addr().Is4() || has(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, v6only)) &&
		has(unix.SOL_SOCKET, unix.SO_REUSEPORT, o.ReusePort) && has(unix.IPPROTO_IP, unix.IP_FREEBIND, o.FreeBind)
}

// findFile finds the file of a unix socket that ReuseStored has taken, so Close
// can remove it. If the file is missing, or belongs to another socket, nobody
// can connect to this one any more, and findFile fails.
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
		// Without sock_diag, in an old kernel or a sandbox, the path must do.
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
	l.fileDevice, l.fileInode = l.bound.dev, l.bound.ino
	return nil
}

// keepFile makes Close keep the file of a unix socket.
func (l *Listener) keepFile() {
	if l.bound != nil {
		l.bound.dir.close()
		l.bound = nil
	}
}

// CloseStored closes a listener of which a service manager may have a
// duplicate. If there is one, the file of a unix socket stays for the next
// process that gets the duplicate.
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
	unlock, lockErr := bound.dir.lock()
	if lockErr != nil {
		// The next master at the path removes the file, which is stale now.
		bound.dir.close()
		return err
	}
	defer unlock()
	if removed := bound.remove(); removed != nil {
		err = errors.Join(err, fmt.Errorf("remove %s: %w", bound.path, removed))
	}
	return err
}

// isListened reports whether the kernel's list has a listening unix socket with
// a path (proc_net(5)). A connect would also tell, but somebody would have to
// serve the connection.
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

// Descriptor calls f with the listener's descriptor, or a copy of it. f must not keep
// it, and may use others of the process beside it.
func (l *Listener) Descriptor(f func(fd int) error) error {
	fd, err := l.descriptor.acquire()
	if err != nil {
		return err
	}
	defer l.descriptor.release()
	return f(fd)
}
