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

// Dial connects to an address in any form that serve takes. Of a name all
// addresses are tried. No host means this machine. A timeout of 0 leaves it to
// the kernel when to give up, otherwise timeout is for everything from the
// question to the name server to the connection. The caller closes the
// connection.
func Dial(ctx context.Context, to config.Address, timeout time.Duration) (net.Conn, error) {
	dialer := net.Dialer{Timeout: timeout}
	dialer.SetMultipathTCP(false)
	if err := checkZone(to); err != nil {
		return nil, fmt.Errorf("connect %v: %w", to, err)
	}
	network, address := target(to)
	conn, err := dialer.DialContext(ctx, network, address)
	if err == nil {
		return conn, nil
	}
	err = Plain(err)
	if err == error(unix.ECONNREFUSED) && isNoSocket(to) {
		err = errors.New("not a socket")
	}
	var deadline net.Error
	if timeout > 0 && (err == errTimeout || errors.As(err, &deadline) && deadline.Timeout()) {
		err = fmt.Errorf("%w after %v", errTimeout, timeout)
	}
	return nil, fmt.Errorf("connect %v: %w", to, err)
}

// target returns an address as package net wants it.
func target(a config.Address) (network, address string) {
	if a.IsUnix() {
		return "unix", a.Path
	}
	host := a.Host
	if a.IP.IsValid() {
		host = a.IP.String()
	}
	return "tcp", net.JoinHostPort(host, strconv.Itoa(int(a.Port)))
}

// isNoSocket reports whether the path of a unix address is some other file, of
// which the kernel says no more than of a socket without a listener.
func isNoSocket(a config.Address) bool {
	if !a.IsUnix() || a.Path[0] == '@' {
		return false
	}
	info, err := os.Stat(a.Path)
	return err == nil && info.Mode().Type() != os.ModeSocket
}

// checkZone refuses a zone that is no interface of this machine; the kernel's
// word for it would be "invalid argument".
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

// AcceptOne listens at an address, says where through listening, and returns
// the first peer's connection. By then the listener is closed and, if it is a
// path, removed. A timeout of 0 waits for ever. The caller closes the
// connection.
func AcceptOne(at config.Address, timeout time.Duration, listening func(address string)) (net.Conn, error) {
	listener, err := listen(at)
	if err != nil {
		return nil, fmt.Errorf("listen %v: %w", at, Plain(err))
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
		return nil, fmt.Errorf("accept at %s: %w", where, Plain(err))
	}
	return conn, nil
}
