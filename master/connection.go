package master

import (
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/process"
)

// A connection is one that was accepted, with the slot that it holds until its
// books are closed.
type connection struct {
	service  *service
	conn     *listen.Conn
	id       string
	name     string   // of the peer, in full
	privacy  *privacy // the master's
	local    string   // as the log shows it
	slot     *admit.Slot
	live     int // connections alive from the source at its accept, itself included
	accepted time.Time

	// rule is what an address rule changes for the connection, or nil.
	rule *rule
	// lifetime and idle are its limits; 0 is none.
	lifetime, idle time.Duration
	// announced says that the log has its accept. The pool's lock guards it
	// once a spare has been given the connection.
	announced bool

	// file is the master's copy of the descriptor. A worker that is spawned
	// for the connection inherits it and the copy is closed at once; for a
	// spare it is kept until the spare has it for certain.
	file *os.File
}

// newConnection makes a connection of what Accept returned and the gate has
// admitted, and takes over its slot.
func (m *Master) newConnection(s *service, conn *listen.Conn, d admit.Decision) *connection {
	c := &connection{
		service:  s,
		conn:     conn,
		id:       m.ids.next(),
		name:     conn.PeerName(),
		privacy:  &m.privacy,
		local:    conn.LocalName(),
		slot:     d.Slot,
		live:     d.Live,
		accepted: time.Now(),
		lifetime: s.MaxLifetime,
		idle:     s.IdleTimeout,
		file:     os.NewFile(uintptr(conn.FD), "connection"),
	}
	if d.Rule != nil && d.Rule.Effect != nil {
		c.rule = d.Rule.Effect.(*rule)
		if t := c.rule.MaxLifetime; t != nil {
			c.lifetime = *t
		}
		if t := c.rule.IdleTimeout; t != nil {
			c.idle = *t
		}
	}
	return c
}

// peer is the peer in the log, as far as it may be known there.
func (c *connection) peer() zap.Field { return peerField(c.peerName()) }

// peerName is the same for a status.
func (c *connection) peerName() string {
	if c.privacy.level() == config.LogPeerFull {
		return c.name // which needs not be made each time
	}
	return c.privacy.peerName(c.conn)
}

// environment returns what a program that serves the connection sees.
func (c *connection) environment() []string {
	base := c.service.env
	if c.rule != nil && c.rule.env != nil {
		base = c.rule.env
	}
	return environment(base, c.conn, c.id, c.live)
}

// command returns what is started for the connection.
func (c *connection) command() *process.Command {
	if c.rule != nil && c.rule.command != nil {
		return c.rule.command
	}
	return &c.service.command
}

// needsItsOwn reports whether no spare will do, because spares were born with
// another program or environment.
func (c *connection) needsItsOwn() bool {
	return c.rule != nil && (c.rule.command != nil || c.rule.env != nil && !c.service.becomesProgram())
}

// assignment returns the encoded message that gives the connection to a
// worker. more says that the worker may get another one afterwards; spare that
// it was started before the connection was known.
func (c *connection) assignment(more, spare bool) ([]byte, error) {
	s := c.service
	a := ipc.Assignment{
		Connection: c.id,
		Service:    s.Name,
		Peer:       c.name,
		Local:      c.local,
		Limits:     ipc.Limits{Idle: c.idle, Lifetime: c.lifetime},
		Reusable:   more,
	}
	if s.QuitWord != "" {
		a.Settings = []ipc.Pair{{Key: ipc.SettingQuitWord, Value: s.QuitWord}}
	}
	if spare && s.becomesProgram() {
		a.Environment = c.environment()
	}
	// Room for nearly all of them, but for those with an environment.
	return a.Append(make([]byte, 0, 256))
}
