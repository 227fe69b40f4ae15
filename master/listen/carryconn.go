package listen

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/carry"
)

// A ConnState is a Conn in the state that a master hands to the next one. Paths and
// names may have any bytes. Of the zone of an address, which is the name of an interface,
// bytes that are no UTF-8 are lost.
type ConnState struct {
	FD          carry.FD     `json:"fd"`
	Peer        string       `json:"peer,omitempty"`
	Local       string       `json:"local,omitempty"`
	SocketPeer  string       `json:"socket_peer,omitempty"`
	SocketLocal string       `json:"socket_local,omitempty"`
	Credentials *Credentials `json:"credentials,omitempty"`
	PeerPath    []byte       `json:"peer_path,omitempty"`
	LocalPath   []byte       `json:"local_path,omitempty"`
	Via         []byte       `json:"via,omitempty"`
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
		FD:          carry.None,
		Peer:        textOf(c.Peer),
		Local:       textOf(c.Local),
		SocketPeer:  textOf(c.Socket.Peer),
		SocketLocal: textOf(c.Socket.Local),
		PeerPath:    []byte(c.PeerPath),
		LocalPath:   []byte(c.LocalPath),
		Via:         []byte(c.Via),
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
	for _, end := range []struct {
		name, text string
		to         *netip.AddrPort
	}{
		{"peer", s.Peer, &c.Peer},
		{"local", s.Local, &c.Local},
		{"socket_peer", s.SocketPeer, &c.Socket.Peer},
		{"socket_local", s.SocketLocal, &c.Socket.Local},
	} {
		if end.text == "" {
			continue
		}
		address, err := netip.ParseAddrPort(end.text)
		if err != nil {
			return nil, fmt.Errorf("%s of a connection: %w", end.name, err)
		}
		*end.to = address
	}
	if u := s.Credentials; u != nil {
		c.Credentials = &unix.Ucred{Pid: u.PID, Uid: u.UID, Gid: u.GID}
	} else if !c.Peer.IsValid() || !c.Local.IsValid() {
		return nil, errors.New("a connection of nobody: it has neither addresses nor credentials")
	}
	var err error
	c.FD, err = d.Take(s.FD)
	return c, err
}

// textOf returns the text of an address, "" for the zero address.
func textOf(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
