package load

import (
	"context"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Answers reports whether a server answers at addr now: it makes one connection
// and exchanges a message. The error is that of the generator itself.
func Answers(ctx context.Context, addr netip.AddrPort) (bool, error) {
	t, err := newTarget(addr)
	if err != nil {
		return false, err
	}
	fd, err := t.connect()
	if err == unix.ECONNREFUSED {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("connect to %v: %w", addr, err)
	}
	defer unix.Close(fd)
	return exchange(ctx, fd), nil
}
