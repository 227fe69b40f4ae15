package redact

import (
	"errors"
	"net/netip"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/listen"
)

func TestPeerAndVia(t *testing.T) {
	over := func(peer, via string) *listen.Conn {
		c := &listen.Conn{Peer: netip.MustParseAddrPort(peer), Local: netip.MustParseAddrPort("192.0.2.1:80")}
		c.Via = via
		return c
	}
	local := func(path string) *listen.Conn {
		return &listen.Conn{Credentials: &unix.Ucred{Uid: 1000, Gid: 100, Pid: 4711}, PeerPath: path, LocalPath: "/run/socket"}
	}
	for _, test := range []struct {
		conn           *listen.Conn
		full, prefix   string
		via, viaPrefix string
	}{
		{over("203.0.113.77:50312", ""), "203.0.113.77:50312", "203.0.113.0/24", "", ""},
		{over("[::ffff:203.0.113.77]:5", ""), "[::ffff:203.0.113.77]:5", "203.0.113.0/24", "", ""},
		{over("[2001:db8:1:2:3:4:5:6]:7", "10.0.0.7:41002"), "[2001:db8:1:2:3:4:5:6]:7", "2001:db8:1::/48", "10.0.0.7:41002", "10.0.0.0/24"},
		{over("[fe80::1%3]:7", "[2001:db8::9]:1"), "[fe80::1%3]:7", "fe80::/48", "[2001:db8::9]:1", "2001:db8::/48"},
		{over("203.0.113.77:1", "unix:uid=0,pid=5"), "203.0.113.77:1", "203.0.113.0/24", "unix:uid=0,pid=5", "unix:uid=0"},
		{over("203.0.113.77:1", "unix:/home/alice/proxy"), "203.0.113.77:1", "203.0.113.0/24", "unix:/home/alice/proxy", "unix:"},
		{local(""), "unix:uid=1000,pid=4711", "unix:uid=1000", "", ""},
		{local("/home/alice/x"), "unix:/home/alice/x", "unix:uid=1000", "", ""},
	} {
		var p Policy
		for _, level := range []struct {
			name      config.LogPeer
			peer, via string
		}{
			{"", test.full, test.via}, // not set
			{config.LogPeerFull, test.full, test.via},
			{config.LogPeerPrefix, test.prefix, test.viaPrefix},
			{config.LogPeerNone, "", ""},
		} {
			if level.name != "" {
				p.Set(level.name)
			}
			full := test.conn.PeerName()
			if peer, via := p.PeerName(test.conn, full), p.ViaName(test.conn); peer != level.peer || via != level.via {
				t.Errorf("%s, %q: got %q via %q, want %q via %q", test.full, level.name, peer, via, level.peer, level.via)
			}
			if got := value(p.Peer(test.conn, full), "peer"); got != level.peer {
				t.Errorf("%s, %q: the log has %q", test.full, level.name, got)
			}
			if got := value(p.Via(test.conn), "via"); got != level.via {
				t.Errorf("%s, %q: the log has it come via %q", test.full, level.name, got)
			}
		}
	}
}

// A source is told no more exactly than a peer, and no more exactly than it is.
func TestSource(t *testing.T) {
	var p Policy
	for _, test := range []struct {
		peer         string
		v4, v6       int
		full, prefix string
	}{
		{"203.0.113.77", 32, 64, "203.0.113.77/32", "203.0.113.0/24"},
		{"203.0.113.77", 16, 64, "203.0.0.0/16", "203.0.0.0/16"},
		{"2001:db8:1:2::3", 32, 64, "2001:db8:1:2::/64", "2001:db8:1::/48"},
		{"2001:db8:1:2::3", 32, 32, "2001:db8::/32", "2001:db8::/32"},
		{"", 32, 64, "unix:uid=1000", "unix:uid=1000"},
	} {
		peer := admit.Peer{UID: 1000}
		if test.peer != "" {
			peer = admit.Peer{Addr: netip.MustParseAddr(test.peer)}
		}
		source := admit.SourceOf(peer, test.v4, test.v6)
		for level, want := range map[config.LogPeer]string{config.LogPeerFull: test.full, config.LogPeerPrefix: test.prefix, config.LogPeerNone: ""} {
			p.Set(level)
			if got := value(p.Source(source), "source"); got != want {
				t.Errorf("%s, %s: got %q, want %q", test.full, level, got, want)
			}
		}
	}
	err := errors.New("malformed PROXY header: addresses 203.0.113.77:1 and x")
	for level, want := range map[config.LogPeer]string{config.LogPeerFull: err.Error(), config.LogPeerPrefix: "", config.LogPeerNone: ""} {
		p.Set(level)
		if got := value(p.HeaderError(err), "error"); got != want {
			t.Errorf("%s: got %q", level, got)
		}
	}
}

// value returns what a field adds to an event, "" for nothing.
func value(field zap.Field, key string) string {
	fields := zapcore.NewMapObjectEncoder()
	field.AddTo(fields)
	text, _ := fields.Fields[key].(string)
	return text
}
