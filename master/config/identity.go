package config

import (
	"fmt"
	"math"
	"os/user"
	"strconv"
)

// An Identity is whom workers run as.
type Identity struct {
	UID, GID uint32
	Groups   []uint32 // supplementary ones; all others are dropped
}

// Identity looks up whom the service's workers run as. It returns nil when the
// service does not say, and workers run as the master does. self is whom the
// master runs as, for what is not said.
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

// lookupUser returns a user's number and, of a user that the system knows, its
// group.
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

// accountNumber parses a uid or gid. The highest number means "no change" to
// the kernel (setresuid(2)) and is nobody's.
func accountNumber(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n != math.MaxUint32
}

// ID looks up the number behind uid: and gid:.
func (p PeerSet) ID() (uint32, error) {
	if p.Unix == UnixGID {
		return lookupGroup(p.Account)
	}
	uid, _, err := lookupUser(p.Account)
	return uid, err
}

// SocketIdentity looks up who owns the files of unix sockets; -1 leaves the
// owner or the group as it is.
func (s *Service) SocketIdentity() (uid, gid int, err error) {
	return socketIdentity(s.SocketOwner, s.SocketGroup)
}

// ControlIdentity looks up who owns the file of the control socket, as
// SocketIdentity does.
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
