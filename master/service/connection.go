package service

import (
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/redact"
	"github.com/preforkd/preforkd/master/sockdiag"
)

// A Connection is one that was accepted and admitted, from then until its slot
// is given back. Its fields do not change, except for File and what the log
// has.
type Connection struct {
	ID       string
	Spec     *Spec // that it was accepted under
	Slot     *admit.Slot
	Local    string // the server's end, as the log shows it
	Accepted time.Time

	// Lifetime and IdleTimeout are its limits; 0 is none.
	Lifetime, IdleTimeout time.Duration

	// File is the master's copy of the descriptor, which the Connection owns.
	// A worker that is started for the connection inherits it, and the copy is
	// closed at once; with a spare it is kept until the spare has acknowledged
	// the connection. With KeepsCopy it is kept until the worker has ended.
	File *os.File

	conn   *listen.Conn
	peer   string // its name in full
	redact *redact.Policy
	live   int   // connections of the source, this one included
	rule   *Rule // what an address rule changes for it, or nil
	log    config.ConnectionLog

	// acceptLogged says that the log has its accept. Whoever gives the
	// connection to a worker owns it until the worker has it.
	acceptLogged bool
}

// NewConnection makes a connection of what a listener returned and the gate has
// admitted. It takes over the slot, and owns the descriptor.
func NewConnection(spec *Spec, conn *listen.Conn, d admit.Decision, id string, p *redact.Policy) *Connection {
	c := newConnection(spec, conn, effectOf(d.Rule), id, p)
	c.Slot, c.live, c.Accepted = d.Slot, d.Live, time.Now()
	c.File = os.NewFile(uintptr(conn.FD), connectionFile)
	return c
}

// connectionFile is the name of Connection.File in errors.
const connectionFile = "connection"

// newConnection returns a connection with all that follows from its Spec, its two ends
// and its rule, which may be nil.
func newConnection(spec *Spec, conn *listen.Conn, rule *Rule, id string, p *redact.Policy) *Connection {
	c := &Connection{
		ID:          id,
		Spec:        spec,
		Local:       conn.LocalName(),
		Lifetime:    spec.MaxLifetime,
		IdleTimeout: spec.IdleTimeout,
		conn:        conn,
		peer:        conn.PeerName(),
		redact:      p,
		rule:        rule,
	}
	c.log, _ = spec.logBy(rule)
	if rule != nil {
		if t := rule.MaxLifetime; t != nil {
			c.Lifetime = *t
		}
		if t := rule.IdleTimeout; t != nil {
			c.IdleTimeout = *t
		}
	}
	return c
}

// KeepsCopy reports whether the master keeps its copy of the descriptor after a
// worker has the connection, to close it properly when the worker has ended
// (package linger). Workers that are built on the SDK do that by themselves.
func (c *Connection) KeepsCopy() bool { return c.Spec.LingeringClose && c.Spec.ExecsProgram() }

// Owner returns the service that the connection belongs to.
func (c *Connection) Owner() *Service { return c.Spec.service }

// Peer is the client in the log, as far as it may be told.
func (c *Connection) Peer() zap.Field { return c.redact.Peer(c.conn, c.peer) }

// PeerName is the same for a status.
func (c *Connection) PeerName() string { return c.redact.PeerName(c.conn, c.peer) }

// ViaName is the proxy that speaks for the client, as far as it may be told.
func (c *Connection) ViaName() string { return c.redact.ViaName(c.conn) }

// Source is what limits count the client as, as far as the log may tell.
func (c *Connection) Source(s admit.Source) zap.Field { return c.redact.Source(s) }

// Socket returns the two ends of the TCP socket, zero for a unix socket.
func (c *Connection) Socket() sockdiag.Pair { return c.conn.Socket }

// Gone reports whether the client has gone, so that nobody would see an answer; see
// listen.Conn. File must be open.
func (c *Connection) Gone() bool { return c.conn.Gone() }

// Command returns what is started for the connection.
func (c *Connection) Command() *process.Command {
	return c.Spec.commandOf(c.rule)
}

// Environment returns what a program that serves the connection sees.
func (c *Connection) Environment() []string {
	base := c.Spec.environment
	if c.rule != nil && c.rule.environment != nil {
		base = c.rule.environment
	}
	return connectionEnvironment(base, c.conn, c.ID, c.live)
}

// NeedsFreshProcess reports whether no spare will do, because spares were
// started with another program or environment.
func (c *Connection) NeedsFreshProcess() bool {
	return c.rule != nil && (c.rule.command != nil || c.rule.environment != nil && !c.Spec.ExecsProgram())
}

// Assignment returns the encoded message that gives the connection to a worker.
// reusable says that the worker may get another connection afterwards; spare
// says that it was started before the connection was known.
func (c *Connection) Assignment(reusable, spare bool) ([]byte, error) {
	a := ipc.Assignment{
		Connection: c.ID,
		Service:    c.Spec.Name,
		Peer:       c.peer,
		Local:      c.Local,
		Limits:     ipc.Limits{Idle: c.IdleTimeout, Lifetime: c.Lifetime},
		Reusable:   reusable,
	}
	if c.Spec.QuitWord != "" {
		a.Settings = []ipc.Pair{{Key: ipc.SettingQuitWord, Value: c.Spec.QuitWord}}
	}
	if spare && c.Spec.ExecsProgram() {
		a.Environment = c.Environment()
	}
	// 256 bytes are enough for nearly all of them, but for those with an
	// environment.
	return a.Append(make([]byte, 0, 256))
}

// LogRefused says that the connection was closed unserved after it had been
// admitted, unless the log has many such lines. One whose accept is in the log gets
// its end there in any case. It reports whether the Refusals of the service have to
// be asked from now on.
func (c *Connection) LogRefused(reason admit.Reason, now time.Time) (suppressed bool) {
	s := c.Owner()
	if !c.LogsFailures() {
		return false
	}
	n, log := uint64(0), c.acceptLogged
	if !log {
		n, log = s.Refusals.Note(reason, now)
	}
	if log {
		s.Log.Info(logging.EventRefused, logging.Conn(c.ID), c.Peer(), logging.Local(c.Local), c.redact.Via(c.conn),
			c.Source(c.Slot.Source()), logging.Reason(reason.String()), logging.Suppressed(n))
	}
	return !log && n == 1
}

// LogAccepted says once that the connection has come, if the log is to have that,
// and which worker has it; pid is 0 if none has. When a spare has ended before it
// had the connection, the next worker is another one than the log has named, so
// each further call says which it is.
func (c *Connection) LogAccepted(pid int) {
	switch {
	case c.log != config.LogAll:
		return
	case c.acceptLogged:
		if pid != 0 {
			c.Owner().Log.Info(logging.EventReassigned, logging.Conn(c.ID), c.Peer(), logging.PID(pid))
		}
		return
	}
	c.acceptLogged = true
	worker := zap.Skip()
	if pid != 0 {
		worker = logging.PID(pid)
	}
	c.Owner().Log.Info(logging.EventAccepted, logging.Conn(c.ID), c.Peer(), logging.Local(c.Local), c.redact.Via(c.conn), worker)
}
