package redact

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

// A Policy is the log-peer in force. There is one for the whole master, so that
// a reload holds for live connections, too. Any goroutine may use it. The zero
// Policy tells everything.
type Policy struct {
	chosen atomic.Pointer[config.LogPeer]
}

// Set puts a level in force.
func (p *Policy) Set(level config.LogPeer) { p.chosen.Store(&level) }

func (p *Policy) level() config.LogPeer {
	if chosen := p.chosen.Load(); chosen != nil {
		return *chosen
	}
	return config.LogPeerFull
}

// With log-peer = "prefix" this much of an address is told. It names the
// network's operator, and less than a household.
const (
	prefixV4 = 24
	prefixV6 = 48
)

// PeerName returns what may be told of a connection's peer, "" for nothing. full
// is the peer's full name, conn.PeerName(), which the caller has made once.
func (p *Policy) PeerName(conn *listen.Conn, full string) string {
	switch p.level() {
	case config.LogPeerNone:
		return ""
	case config.LogPeerPrefix:
		if conn.IsUnix() {
			return "unix:uid=" + strconv.FormatUint(uint64(conn.Credentials.Uid), 10)
		}
		return prefixOf(conn.Peer.Addr())
	}
	return full
}

// ViaName returns what may be told of the proxy that speaks for the peer.
func (p *Policy) ViaName(conn *listen.Conn) string {
	switch p.level() {
	case config.LogPeerNone:
		return ""
	case config.LogPeerPrefix:
		if proxy, err := netip.ParseAddrPort(conn.Via); err == nil {
			return prefixOf(proxy.Addr())
		}
		// The proxy came over a unix socket: tell the user without the
		// process, and no path.
		user, _, _ := strings.Cut(conn.Via, ",")
		if conn.Via != "" && !strings.HasPrefix(user, "unix:uid=") {
			return "unix:"
		}
		return user
	}
	return conn.Via
}

// Peer is the log field of PeerName. A field that may tell nothing is left out
// of the event; so it is with the other fields.
func (p *Policy) Peer(conn *listen.Conn, full string) zap.Field {
	if name := p.PeerName(conn, full); name != "" {
		return logging.Peer(name)
	}
	return zap.Skip()
}

// Via is the log field of ViaName.
func (p *Policy) Via(conn *listen.Conn) zap.Field { return logging.Via(p.ViaName(conn)) }

// Source is the log field of what limits count a peer as. With log-peer =
// "prefix" it tells no more than the peer's own field does; the service's
// source prefix may be shorter.
func (p *Policy) Source(s admit.Source) zap.Field {
	switch p.level() {
	case config.LogPeerNone:
		return zap.Skip()
	case config.LogPeerPrefix:
		return logging.Source(s.Truncate(prefixV4, prefixV6))
	}
	return logging.Source(s)
}

// HeaderError is the log field of an error in a PROXY header. Such an error may
// quote the header, which consists of addresses, so it is told in full or not
// at all. The refusal's reason says as much of it as may be told.
// Without an error there is no field.
func (p *Policy) HeaderError(err error) zap.Field {
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
		return "" // there is no address
	}
	return prefix.String()
}
