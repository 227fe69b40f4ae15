package config

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// An Identity is the user and the groups of a process.
type Identity struct {
	UID, GID uint32
	Groups   []uint32 // all supplementary groups
}

// Identity looks up the identity of the service's workers. It returns nil when
// the service sets none of user, group and supplementary-groups. The workers
// then have the master's identity, which is self. With any of these keys, a uid
// or gid that does not follow from them is that of self.
func (s *Service) Identity(self Identity) (*Identity, error) {
	if s.User == "" && s.Group == "" && len(s.SupplementaryGroups) == 0 {
		return nil, nil
	}
	id := Identity{UID: self.UID, GID: self.GID}
	if s.User != "" {
		uid, own, err := lookupUser(s.User)
		if err != nil {
			return nil, err
		}
		id.UID = uid
		if own != nil {
			id.GID = *own
		} else if s.Group == "" {
			return nil, fmt.Errorf("there is no such user, so its group must be given as group")
		}
	}
	if s.Group != "" {
		gid, err := lookupGroup(s.Group)
		if err != nil {
			return nil, err
		}
		id.GID = gid
	}
	for _, name := range s.SupplementaryGroups {
		gid, err := lookupGroup(name)
		if err != nil {
			return nil, err
		}
		id.Groups = append(id.Groups, gid)
	}
	return &id, nil
}

// lookupUser returns the uid of a user. If the system knows the user, it also
// returns the gid.
func lookupUser(name string) (uid uint32, gid *uint32, err error) {
	number, isNumber := accountNumber(name)
	found, err := user.Lookup(name)
	if err != nil && isNumber {
		found, err = user.LookupId(name)
	}
	switch {
	case err != nil && isNumber:
		return number, nil, nil
	case err != nil:
		return 0, nil, fmt.Errorf("there is no such user")
	}
	u, ok := accountNumber(found.Uid)
	g, ok2 := accountNumber(found.Gid)
	if !ok || !ok2 {
		return 0, nil, fmt.Errorf("has the numbers %s and %s, which are none", found.Uid, found.Gid)
	}
	return u, &g, nil
}

func lookupGroup(name string) (uint32, error) {
	if found, err := user.LookupGroup(name); err == nil {
		name = found.Gid
	}
	gid, ok := accountNumber(name)
	if !ok {
		return 0, fmt.Errorf("there is no such group")
	}
	return gid, nil
}

// accountNumber parses a uid or gid. The highest number is not valid, because
// it means "no change" to the kernel (setresuid(2)).
func accountNumber(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n != math.MaxUint32
}

// ID looks up the number of the account after uid: or gid:.
func (p PeerSet) ID() (uint32, error) {
	if p.Unix == UnixGID {
		return lookupGroup(p.Account)
	}
	uid, _, err := lookupUser(p.Account)
	return uid, err
}

// SocketIdentity looks up the owner and the group of the files of unix sockets.
// A value of -1 leaves that one unchanged.
func (s *Service) SocketIdentity() (uid, gid int, err error) {
	return socketIdentity(s.SocketOwner, s.SocketGroup)
}

// ControlIdentity does what SocketIdentity does, for the control socket.
func (c *Config) ControlIdentity() (uid, gid int, err error) {
	return socketIdentity(c.ControlOwner, c.ControlGroup)
}

func socketIdentity(owner, group string) (uid, gid int, err error) {
	uid, gid = -1, -1
	if owner != "" {
		n, _, err := lookupUser(owner)
		if err != nil {
			return -1, -1, err
		}
		uid = int(n)
	}
	if group != "" {
		n, err := lookupGroup(group)
		if err != nil {
			return -1, -1, err
		}
		gid = int(n)
	}
	return uid, gid, nil
}

// Capabilities by number (linux/capability.h).
const (
	capSetGID = 6
	capSetUID = 7
)

// currentIdentity returns the identity of this process.
func currentIdentity() Identity {
	return Identity{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
}

// hasCapability reports whether this process has a capability. If the kernel
// does not tell, the answer is yes, and the first spawn may fail instead.
func hasCapability(capability int) bool {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return true
	}
	_, rest, _ := bytes.Cut(status, []byte("\nCapEff:\t"))
	value, _, _ := bytes.Cut(rest, []byte("\n"))
	set, err := strconv.ParseUint(string(value), 16, 64)
	return err != nil || set&(1<<capability) != 0
}

// bareErrno returns the error number inside err. It is for messages that
// already name the file.
func bareErrno(err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	return err
}
