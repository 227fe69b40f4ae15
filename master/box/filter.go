package box

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"

	"github.com/preforkd/preforkd/master/box/observe"
	"github.com/preforkd/preforkd/master/box/seccomp"
	"github.com/preforkd/preforkd/master/box/syscalls"
	"github.com/preforkd/preforkd/master/config"
)

// restrictsParents reports whether the filter of a box denies that children of the master
// are made in a cell, which nobody has started and which are no children of the cell's
// first process (CLONE_PARENT, clone(2)). Of the programs that do so all make
// namespaces, as runc does.
func restrictsParents(b *config.Box) bool { return b.RestrictNamespaces && b.PrivatePIDs }

// listenerDescriptors is how many descriptors an entry has at most that sends a listener
// (stub.Entry.Listener), with those of a worker.
const listenerDescriptors = 11

// filter compiles the filter of the entry, with a new cookie, and says what it tells of. A
// box that restricts nothing has none, unless somebody learns what its programs use.
func (s *settings) filter(b *config.Box, learner *observe.Learner) error {
	c, restricted, err := seccompConfig(b)
	if err != nil || !restricted && learner == nil {
		return err
	}
	var random [8]byte
	rand.Read(random[:])
	c.Cookie = binary.NativeEndian.Uint64(random[:]) | 1 // 0 would let nothing through
	// What denies by errno needs nobody to be told.
	nofile, limited := b.Limits["nofile"]
	few := limited && nofile.Soft < listenerDescriptors
	if learner != nil && few {
		return fmt.Errorf("limit-nofile %d: %d descriptors are needed to observe system calls", nofile.Soft, listenerDescriptors)
	}
	if learner != nil || c.Policy != nil && c.Action != seccomp.Errno && !few && observe.Supported() == nil {
		c.Notice = seccomp.NoticeDenied
		s.subject = &observe.Subject{Kill: c.Action == seccomp.Kill, Learner: learner}
	}
	if s.entry.Filter, err = seccomp.Compile(runtime.GOARCH, c); err != nil || learner == nil {
		s.entry.Cookie = c.Cookie
		return err
	}
	if s.subject.Judge, err = seccomp.NewJudge(s.entry.Filter); err != nil {
		return err
	}
	s.subject.Allows = func(name string) bool { return c.Policy == nil || c.Policy.Decide(name) == syscalls.Allowed }
	all := c
	all.Notice = seccomp.NoticeAll
	s.entry.Filter, err = seccomp.Compile(runtime.GOARCH, all)
	s.entry.Cookie = c.Cookie
	return err
}

// seccompConfig returns what a box says of system calls, and whether that is anything.
func seccompConfig(b *config.Box) (c seccomp.Config, restricted bool, err error) {
	c = seccomp.Config{
		RestrictNamespaces:     b.RestrictNamespaces,
		RestrictParents:        restrictsParents(b),
		RestrictRealtime:       b.RestrictRealtime,
		RestrictSUIDSGID:       b.RestrictSUIDSGID,
		LockPersonality:        b.LockPersonality,
		MemoryDenyWriteExecute: b.MemoryDenyWriteExecute,
	}
	restricted = c.RestrictNamespaces || c.RestrictRealtime || c.RestrictSUIDSGID || c.LockPersonality || c.MemoryDenyWriteExecute
	switch b.SystemCallsAction {
	case config.SystemCallsKill:
		c.Action = seccomp.Kill
	case config.SystemCallsLog:
		c.Action = seccomp.Log
	}
	if list := b.SystemCallList(); len(list) > 0 {
		policy, err := syscalls.Expand(list)
		if err != nil {
			return c, false, fmt.Errorf("system-calls: %w", err)
		}
		c.Policy, restricted = &policy, true
	}
	if b.RestrictAddressFamilies != nil {
		c.AddressFamilies, restricted = []int{}, true
		for _, name := range b.RestrictAddressFamilies {
			family, known := config.AddressFamily(name)
			if !known {
				return c, false, fmt.Errorf("restrict-address-families: %s: no such family", name)
			}
			c.AddressFamilies = append(c.AddressFamilies, family)
		}
	}
	return c, restricted, nil
}

// makesUnixSockets reports whether a process in the box can make a unix socket that has a
// name, or connects to one (socketpair(2) makes none).
func makesUnixSockets(b *config.Box) bool {
	if b.RestrictAddressFamilies != nil && !slices.Contains(b.RestrictAddressFamilies, "unix") {
		return false
	}
	list := b.SystemCallList()
	if len(list) == 0 || b.SystemCallsAction == config.SystemCallsLog {
		return true
	}
	policy, err := syscalls.Expand(list)
	return err != nil || policy.Decide("socket") == syscalls.Allowed
}
