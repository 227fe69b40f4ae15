package listen

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/sockdiag"
)

// A ConnState is a Conn in the state that a master hands to the next one. Paths and
// names may have any bytes. Of the zone of an address, which is the name of an interface,
// bytes that are no UTF-8 are lost.
type ConnState struct {
	FD          carry.FD     `json:"fd"`
	Peer        string       `json:"peer,omitempty"`
	Local       string       `json:"local,omitempty"`
	Socket      *EndsState   `json:"socket,omitempty"` // nil: the same
	Credentials *Credentials `json:"credentials,omitempty"`
	PeerPath    []byte       `json:"peer_path,omitempty"`
	LocalPath   []byte       `json:"local_path,omitempty"`
	Via         []byte       `json:"via,omitempty"`
}

// EndsState are the two ends of a socket.
type EndsState struct {
	Peer  string `json:"peer,omitempty"`
	Local string `json:"local,omitempty"`
}

// Credentials are those of the process at the other end of a unix socket (unix(7)).
type Credentials struct {
	PID int32  `json:"pid"`
	UID uint32 `json:"uid"`
	GID uint32 `json:"gid"`
}

// Export returns the state of the connection, and keeps its descriptor, which must be
// open.
func (c *Conn) Export(d *carry.Descriptors) ConnState {
	s := c.Describe()
	s.FD = d.Keep(c.FD)
	return s
}

// Describe returns the state of the connection without its descriptor.
func (c *Conn) Describe() ConnState {
	s := ConnState{
		FD:        carry.None,
		Peer:      textOf(c.Peer),
		Local:     textOf(c.Local),
		PeerPath:  []byte(c.PeerPath),
		LocalPath: []byte(c.LocalPath),
		Via:       []byte(c.Via),
	}
	if c.Socket.Peer != c.Peer || c.Socket.Local != c.Local {
		s.Socket = &EndsState{textOf(c.Socket.Peer), textOf(c.Socket.Local)}
	}
	if u := c.Credentials; u != nil {
		s.Credentials = &Credentials{PID: u.Pid, UID: u.Uid, GID: u.Gid}
	}
	return s
}

// RestoreConn makes a connection again. The descriptor, -1 if the state has none, is the
// caller's.
func RestoreConn(s *ConnState, d *carry.Descriptors) (*Conn, error) {
	c := &Conn{PeerPath: string(s.PeerPath), LocalPath: string(s.LocalPath), Via: string(s.Via)}
	ends, err := restoreEnds(s.Peer, s.Local)
	if err != nil {
		return nil, err
	}
	c.Peer, c.Local, c.Socket = ends.Peer, ends.Local, ends
	if s.Socket != nil {
		if c.Socket, err = restoreEnds(s.Socket.Peer, s.Socket.Local); err != nil {
			return nil, err
		}
	}
	if u := s.Credentials; u != nil {
		c.Credentials = &unix.Ucred{Pid: u.PID, Uid: u.UID, Gid: u.GID}
	} else if !c.Peer.IsValid() || !c.Local.IsValid() {
		return nil, errors.New("a connection of nobody: it has neither addresses nor credentials")
	}
	c.FD, err = d.Take(s.FD)
	return c, err
}

func restoreEnds(peer, local string) (ends sockdiag.Pair, err error) {
	if ends.Peer, err = addressOf(peer); err != nil {
		return ends, fmt.Errorf("peer of a connection: %w", err)
	}
	if ends.Local, err = addressOf(local); err != nil {
		return ends, fmt.Errorf("local end of a connection: %w", err)
	}
	return ends, nil
}

// textOf returns the text of an address, "" for the zero address.
func textOf(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// addressOf returns the address of a text of textOf.
func addressOf(text string) (netip.AddrPort, error) {
	if text == "" {
		return netip.AddrPort{}, nil
	}
	return netip.ParseAddrPort(text)
}
