package master

import (
	"os"
	"time"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/listen"
)

// A connection is one that was accepted, with the slot that it holds until its
// books are closed.
type connection struct {
	service  *service
	conn     *listen.Conn
	id       string
	peer     string // as the log shows it
	local    string
	source   admit.Source
	live     int // connections alive from the source at its accept, itself included
	accepted time.Time

	// announced says that the log has its accept. The pool's lock guards it
	// once a spare has been given the connection.
	announced bool

	// file is the master's copy of the descriptor. A worker that is spawned
	// for the connection inherits it and the copy is closed at once; for a
	// spare it is kept until the spare has it for certain.
	file *os.File
}

// newConnection makes a connection of what Accept returned, whose reserved
// slot it takes over.
func (m *Master) newConnection(s *service, conn *listen.Conn) *connection {
	c := &connection{
		service:  s,
		conn:     conn,
		id:       m.ids.next(),
		peer:     conn.PeerName(),
		local:    conn.LocalName(),
		accepted: time.Now(),
		file:     os.NewFile(uintptr(conn.FD), "connection"),
	}
	if !conn.IsUnix() {
		c.source = admit.SourceOf(conn.Peer.Addr(), sourcePrefixV4, sourcePrefixV6)
	}
	c.live = s.gate.Hold(c.source)
	return c
}

// environment returns what a program that serves the connection sees.
func (c *connection) environment() []string {
	return environment(c.service.env, c.conn, c.id, c.live)
}

// assignment returns the encoded message that gives the connection to a
// worker. more says that the worker may get another one afterwards; spare that
// it was started before the connection was known.
func (c *connection) assignment(more, spare bool) ([]byte, error) {
	s := c.service
	a := ipc.Assignment{
		Connection: c.id,
		Service:    s.Name,
		Peer:       c.peer,
		Local:      c.local,
		Limits:     ipc.Limits{Idle: s.IdleTimeout, Lifetime: s.MaxLifetime},
		More:       more,
	}
	if s.QuitWord != "" {
		a.Settings = []ipc.Pair{{Key: ipc.SettingQuitWord, Value: s.QuitWord}}
	}
	if spare && s.becomesProgram() {
		a.Environment = c.environment()
	}
	return a.Append(nil)
}
