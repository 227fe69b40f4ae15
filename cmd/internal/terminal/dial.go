package terminal

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/config"
)

// Dial connects to an address in any form that serve takes. For a name it tries all
// addresses. No host means this machine. timeout limits the whole time from the name
// lookup to the connection. With a timeout of 0 the kernel decides when to give up. The
// caller closes the connection.
func Dial(ctx context.Context, to config.Address, timeout time.Duration) (net.Conn, error) {
	dialer := net.Dialer{Timeout: timeout}
	dialer.SetMultipathTCP(false)
	if err := checkZone(to); err != nil {
		return nil, fmt.Errorf("connect %v: %w", to, err)
	}
	network, address := networkAddress(to)
	conn, err := dialer.DialContext(ctx, network, address)
	if err == nil {
		return conn, nil
	}
	err = ShortError(err)
	if err == error(unix.ECONNREFUSED) && isNoSocket(to) {
		err = errors.New("not a socket")
	}
	var deadline net.Error
	if timeout > 0 && (err == errTimeout || errors.As(err, &deadline) && deadline.Timeout()) {
		err = fmt.Errorf("%w after %v", errTimeout, timeout)
	}
	return nil, fmt.Errorf("connect %v: %w", to, err)
}

// networkAddress returns an address in the form of package net.
func networkAddress(a config.Address) (network, address string) {
	if a.IsUnix() {
		return "unix", a.Path
	}
	host := a.Host
	if a.IP.IsValid() {
		host = a.IP.String()
	}
	return "tcp", net.JoinHostPort(host, strconv.Itoa(int(a.Port)))
}

// isNoSocket reports whether the path of a unix address is a file of another type. The
// kernel returns the same error for such a file and for a socket without a listener.
func isNoSocket(a config.Address) bool {
	if !a.IsUnix() || a.Path[0] == '@' {
		return false
	}
	info, err := os.Stat(a.Path)
	return err == nil && info.Mode().Type() != os.ModeSocket
}

// checkZone returns an error for a zone that is no interface of this machine. The
// kernel's error would be "invalid argument".
func checkZone(a config.Address) error {
	zone := a.IP.Zone()
	if zone == "" {
		return nil
	}
	if index, err := strconv.Atoi(zone); err == nil {
		_, err = net.InterfaceByIndex(index)
		if err == nil {
			return nil
		}
	} else if _, err := net.InterfaceByName(zone); err == nil {
		return nil
	}
	return fmt.Errorf("no network interface %s", zone)
}

// AcceptOne listens at an address and returns the connection of the first peer. It
// calls listening with the real address. Before it returns, it closes the listener and
// removes the path of a unix socket. A timeout of 0 means no limit. The caller closes
// the connection.
func AcceptOne(at config.Address, timeout time.Duration, listening func(address string)) (net.Conn, error) {
	listener, err := listen(at)
	if err != nil {
		return nil, fmt.Errorf("listen %v: %w", at, ShortError(err))
	}
	defer listener.Close()
	where := listener.Addr().String()
	if at.IsUnix() {
		where = at.String()
	}
	listening(where)
	if timeout > 0 {
		listener.(interface{ SetDeadline(time.Time) error }).SetDeadline(time.Now().Add(timeout))
	}
	conn, err := listener.Accept()
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = fmt.Errorf("no peer within %v", timeout)
		}
		return nil, fmt.Errorf("accept at %s: %w", where, ShortError(err))
	}
	return conn, nil
}
