package control

import (
	"context"
	"net"
	"sync"
)

// maxClients bounds how many control connections are open at a time. Each costs
// the master a descriptor and some kilobytes.
const maxClients = 64

// clients are the control connections. They are tracked so that
//
//  1. there is a limit to them;
//  2. whoever opens many and says nothing, or little, or reads nothing, is in
//     nobody's way but his own: beyond the limit the longest open connection
//     goes of the user who has most of them, unless the master is at work for
//     it;
//  3. at the end those that nobody works for can be closed at once.
type clients struct {
	mu   sync.Mutex // guards what follows, and every client's working
	open []*client  // the longest open first
	most int
}

// A client is a control connection.
type client struct {
	net.Conn
	peer    Peer
	of      *clients
	working bool // a request of it is with the master
}

// enter takes a connection in. It returns nil, with the connection closed, when
// there is no room and the master works for all the others.
func (cs *clients) enter(conn net.Conn, peer Peer) *client {
	cs.mu.Lock()
	c := &client{Conn: conn, peer: peer, of: cs}
	cs.open = append(cs.open, c)
	var leaves *client
	if len(cs.open) > cs.most {
		leaves = cs.superfluous()
		cs.remove(leaves)
	}
	cs.mu.Unlock()
	if leaves != nil {
		leaves.Conn.Close()
	}
	if leaves == c {
		return nil
	}
	return c
}

// superfluous returns the client that makes room, which may be the new one.
func (cs *clients) superfluous() *client {
	has := map[uint32]int{}
	for _, c := range cs.open {
		has[c.peer.UID]++
	}
	var found *client
	for _, c := range cs.open {
		if !c.working && (found == nil || has[c.peer.UID] > has[found.peer.UID]) {
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
	c.of.mu.Lock()
	c.of.remove(c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// works notes whether the master works for a client.
func (c *client) works(working bool) {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.working = working
}

// closeIdle closes all connections that the master does not work for.
func (cs *clients) closeIdle() {
	cs.mu.Lock()
	var idle []*client
	for _, c := range cs.open {
		if !c.working {
			idle = append(idle, c)
		}
	}
	cs.mu.Unlock()
	for _, c := range idle {
		c.Close()
	}
}

type clientKey struct{}

// withClient is what http.Server.ConnContext asks for.
func withClient(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, clientKey{}, conn.(*client))
}

func clientOf(ctx context.Context) *client { return ctx.Value(clientKey{}).(*client) }
