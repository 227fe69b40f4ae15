package box

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/box/seccomp"
	"github.com/preforkd/preforkd/master/box/syscalls"
	"github.com/preforkd/preforkd/master/config"
)

// A filter is a program for seccomp(2) and the cookie that it lets the last steps
// of an entry through for.
type filter struct {
	program []unix.SockFilter
	cookie  uint64
}

func compileFilter(b *config.Box) (filter, error) {
	c := seccomp.Config{
		RestrictNamespaces:     b.RestrictNamespaces,
		RestrictRealtime:       b.RestrictRealtime,
		RestrictSUIDSGID:       b.RestrictSUIDSGID,
		LockPersonality:        b.LockPersonality,
		MemoryDenyWriteExecute: b.MemoryDenyWriteExecute,
	}
	restricted := c.RestrictNamespaces || c.RestrictRealtime || c.RestrictSUIDSGID || c.LockPersonality || c.MemoryDenyWriteExecute
	switch b.SystemCallsAction {
	case config.SystemCallsKill:
		c.Action = seccomp.Kill
	case config.SystemCallsLog:
		c.Action = seccomp.Log
	}
	if len(b.SystemCalls) > 0 {
		policy, err := syscalls.Expand(b.SystemCalls)
		if err != nil {
			return filter{}, fmt.Errorf("system-calls: %w", err)
		}
		c.Policy, restricted = &policy, true
	}
	if b.RestrictAddressFamilies != nil {
		c.AddressFamilies, restricted = []int{}, true
		for _, name := range b.RestrictAddressFamilies {
			family, known := config.AddressFamily(name)
			if !known {
				return filter{}, fmt.Errorf("restrict-address-families: %s: no such family", name)
			}
			c.AddressFamilies = append(c.AddressFamilies, family)
		}
	}
	if !restricted {
		return filter{}, nil
	}
	var random [8]byte
	rand.Read(random[:])
	c.Cookie = binary.NativeEndian.Uint64(random[:]) | 1 // 0 would let nothing through
	program, err := seccomp.Compile(runtime.GOARCH, c)
	return filter{program, c.Cookie}, err
}

// makesUnixSockets reports whether a process in the box can make a unix socket that has a
// name, or connects to one (socketpair(2) makes none).
func makesUnixSockets(b *config.Box) bool {
	if b.RestrictAddressFamilies != nil && !slices.Contains(b.RestrictAddressFamilies, "unix") {
		return false
	}
	if len(b.SystemCalls) == 0 || b.SystemCallsAction == config.SystemCallsLog {
		return true
	}
	policy, err := syscalls.Expand(b.SystemCalls)
	return err != nil || policy.Decide("socket") == syscalls.Allowed
}
