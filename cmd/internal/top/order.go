package top

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/preforkd/preforkd/master/control"
)

// A sortKey is what connections are sorted by.
type sortKey string

const (
	byAge    sortKey = "age"
	byCPU    sortKey = "cpu"
	byMemory sortKey = "memory"
	byBytes  sortKey = "bytes"
	byPeer   sortKey = "peer"
)

// sortKeys are the keys of the keyboard.
var sortKeys = map[string]sortKey{"a": byAge, "c": byCPU, "m": byMemory, "b": byBytes, "p": byPeer}

// matching returns the connections of the service in focus in which the filter
// occurs.
func (m *model) matching() []control.Connection {
	filter := strings.ToLower(m.filter)
	var found []control.Connection
	for _, c := range m.status.Connections {
		if m.service != "" && c.Service != m.service {
			continue
		}
		if filter == "" || slices.ContainsFunc([]string{c.Peer, c.ID, c.Service, c.State, c.Via, c.Local, strconv.Itoa(c.PID)}, func(s string) bool {
			return strings.Contains(strings.ToLower(s), filter)
		}) {
			found = append(found, c)
		}
	}
	return found
}

// sorted sorts connections in place: by what costs most, is most or is oldest
// first, by peers in the order of their addresses. Equal ones stand in the order
// of their age, so that they keep their places from look to look.
func (m *model) sorted(connections []control.Connection) []control.Connection {
	compare := map[sortKey]func(a, b control.Connection) int{
		byAge: func(a, b control.Connection) int { return 0 },
		byCPU: func(a, b control.Connection) int { return cmp.Compare(m.rates.load(b), m.rates.load(a)) },
		byMemory: func(a, b control.Connection) int {
			return cmp.Compare(known(b.RSS), known(a.RSS))
		},
		byBytes: func(a, b control.Connection) int {
			return cmp.Compare(known(b.BytesIn)+known(b.BytesOut), known(a.BytesIn)+known(a.BytesOut))
		},
	}[m.sort]
	if m.sort == byPeer {
		peers := make(map[string]netip.AddrPort, len(connections))
		for _, c := range connections {
			peers[c.Peer], _ = netip.ParseAddrPort(c.Peer)
		}
		compare = func(a, b control.Connection) int {
			return cmp.Or(peers[a.Peer].Compare(peers[b.Peer]), strings.Compare(a.Peer, b.Peer))
		}
	}
	slices.SortFunc(connections, func(a, b control.Connection) int {
		order := cmp.Or(compare(a, b), a.Since.Compare(b.Since), strings.Compare(a.ID, b.ID))
		if m.reverse {
			return -order
		}
		return order
	})
	return connections
}

// known returns a number; one that is not known is 0.
func known(n *uint64) uint64 {
	if n == nil {
		return 0
	}
	return *n
}
