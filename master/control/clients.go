package control

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// maxClients is how many control connections may be open at once. Each costs
// the master a descriptor and some kilobytes.
const maxClients = 64

// clients holds the open control connections. They are tracked for these
// reasons:
//
//  1. Their number is limited.
//  2. A user who opens many connections and leaves them idle hinders nobody else.
//     Beyond the limit, the user with the most connections loses the oldest one
//     that the master does not work for.
//  3. When the server closes, idle connections can be closed at once.
type clients struct {
	mu   sync.Mutex // guards open, and busy, idle and waits of every client
	open []*client  // the oldest first
	max  int
	// changed has one value when a client has come to an end or to rest.
	changed chan struct{}
}

// A client is a control connection.
type client struct {
	net.Conn
	peer Peer
	list *clients
	busy bool // the master works on a request of the client
	// idle says that the client has all its answers. One that has just come is not idle.
	idle  bool
	waits bool // for the outcome of an upgrade
}

// add adds a connection, and closes another one if there are too many. It
// returns nil, with the new connection closed, when the master works for all
// the others.
func (cs *clients) add(conn net.Conn, peer Peer) *client {
	cs.mu.Lock()
	c := &client{Conn: conn, peer: peer, list: cs}
	cs.open = append(cs.open, c)
	var evicted *client
	if len(cs.open) > cs.max {
		evicted = cs.mostDispensable()
		cs.remove(evicted)
	}
	cs.mu.Unlock()
	if evicted != nil {
		evicted.Conn.Close()
	}
	if evicted == c {
		return nil
	}
	return c
}

// mostDispensable returns the client that must leave: the oldest idle one of
// the user who has the most connections. It may be the new client.
func (cs *clients) mostDispensable() *client {
	perUser := map[uint32]int{}
	for _, c := range cs.open {
		perUser[c.peer.UID]++
	}
	var found *client
	for _, c := range cs.open {
		if !c.busy && (found == nil || perUser[c.peer.UID] > perUser[found.peer.UID]) {
			found = c
		}
	}
	return found
}

func (cs *clients) remove(c *client) {
	for i, other := range cs.open {
		if other == c {
			cs.open = append(cs.open[:i], cs.open[i+1:]...)
			return
		}
	}
}

// Close implements net.Conn.
func (c *client) Close() error {
	c.list.mu.Lock()
	c.list.remove(c)
	c.list.mu.Unlock()
	c.list.change()
	return c.Conn.Close()
}

// setBusy records whether the master works for the client.
func (c *client) setBusy(busy bool) {
	c.list.mu.Lock()
	defer c.list.mu.Unlock()
	c.busy = busy
}

// setWaits records whether the client waits for the outcome of an upgrade.
func (c *client) setWaits(waits bool) {
	c.list.mu.Lock()
	c.waits = waits
	c.list.mu.Unlock()
	c.list.change()
}

// noteState records whether a client has its answers, as http.Server.ConnState.
func noteState(conn net.Conn, state http.ConnState) {
	c := conn.(*client)
	c.list.mu.Lock()
	c.idle = state == http.StateIdle
	c.list.mu.Unlock()
	c.list.change()
}

// closeIdle closes every connection that the master does not work for.
func (cs *clients) closeIdle() {
	cs.mu.Lock()
	var idle []*client
	for _, c := range cs.open {
		if !c.busy {
			idle = append(idle, c)
		}
	}
	cs.mu.Unlock()
	for _, c := range idle {
		c.Close()
	}
}

type clientKey struct{}

// withClient puts the client into the context of its requests, as
// http.Server.ConnContext.
func withClient(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, clientKey{}, conn.(*client))
}

// clientOf returns the client that a request has come from.
func clientOf(ctx context.Context) *client { return ctx.Value(clientKey{}).(*client) }
