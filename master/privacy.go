package master

import (
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
)

// A privacy is how much of a peer the log and a status tell, as log-peer has it.
// Whatever names a peer there comes from here. It is the master's, not the
// connection's, so that a reload holds for those that are live, too. Workers are
// told everything: to whom they speak is theirs to know.
// Until it is set, everything is told.
type privacy struct {
	chosen atomic.Pointer[config.LogPeer]
}

func (p *privacy) set(level config.LogPeer) { p.chosen.Store(&level) }

func (p *privacy) level() config.LogPeer {
	if chosen := p.chosen.Load(); chosen != nil {
		return *chosen
	}
	return config.LogPeerFull
}

// What is left of an address by prefix: about a network's operator, and less
// than a household.
const (
	prefixV4 = 24
	prefixV6 = 48
)

// peerName returns what may be known of a connection's peer; "" for nothing.
func (p *privacy) peerName(conn *listen.Conn) string {
	switch p.level() {
	case config.LogPeerNone:
		return ""
	case config.LogPeerPrefix:
		if conn.IsUnix() {
			return "unix:uid=" + strconv.FormatUint(uint64(conn.Credentials.Uid), 10)
		}
		return prefixOf(conn.Peer.Addr())
	}
	return conn.PeerName()
}

// viaName returns what may be known of the proxy that speaks for the peer.
func (p *privacy) viaName(conn *listen.Conn) string {
	switch p.level() {
	case config.LogPeerNone:
		return ""
	case config.LogPeerPrefix:
		if proxy, err := netip.ParseAddrPort(conn.Via); err == nil {
			return prefixOf(proxy.Addr())
		}
		// A unix socket's: the user without the process, or no path.
		user, _, _ := strings.Cut(conn.Via, ",")
		if conn.Via != "" && !strings.HasPrefix(user, "unix:uid=") {
			return "unix:"
		}
		return user
	}
	return conn.Via
}

// peer, via and source are the fields of the log; a field of which nothing may
// be known is left out.
func (p *privacy) peer(conn *listen.Conn) zap.Field { return peerField(p.peerName(conn)) }

func peerField(name string) zap.Field {
	if name == "" {
		return zap.Skip()
	}
	return logging.Peer(name)
}

func (p *privacy) via(conn *listen.Conn) zap.Field { return logging.Via(p.viaName(conn)) }

// source is what limits count a peer as. By prefix it tells no more than the
// peer would; a service's own prefix may be shorter.
func (p *privacy) source(s admit.Source) zap.Field {
	switch p.level() {
	case config.LogPeerNone:
		return zap.Skip()
	case config.LogPeerPrefix:
		return logging.Source(s.Within(prefixV4, prefixV6))
	}
	return logging.Source(s)
}

// complaint is the error of a PROXY header, which may quote the header, and that
// is all addresses. The reason of the refusal says as much of it as may be
// known.
func (p *privacy) complaint(err error) zap.Field {
	if p.level() != config.LogPeerFull {
		return zap.Skip()
	}
	return logging.Error(err)
}

func prefixOf(addr netip.Addr) string {
	addr = addr.Unmap().WithZone("")
	bits := prefixV6
	if addr.Is4() {
		bits = prefixV4
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return "" // of no address
	}
	return prefix.String()
}
