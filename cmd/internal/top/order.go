package top

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/preforkd/preforkd/master/control"
)

// A sortKey names the order of connections.
type sortKey string

const (
	byAge    sortKey = "age"
	byCPU    sortKey = "cpu"
	byMemory sortKey = "memory"
	byBytes  sortKey = "bytes"
	byPeer   sortKey = "peer"
)

// sortKeys maps the keys of the keyboard.
var sortKeys = map[string]sortKey{"a": byAge, "c": byCPU, "m": byMemory, "b": byBytes, "p": byPeer}

// matchingConnections returns the connections of the selected service that contain the
// filter.
func (m *model) matchingConnections() []control.Connection {
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

// sortConnections sorts connections in place. The most expensive, the largest or the
// oldest comes first. Peers are in the order of their addresses. Equal connections are
// in the order of their age, so that they keep their places.
func (m *model) sortConnections(connections []control.Connection) []control.Connection {
	compare := map[sortKey]func(a, b control.Connection) int{
		byAge: func(a, b control.Connection) int { return 0 },
		byCPU: func(a, b control.Connection) int { return cmp.Compare(m.rates.cpuLoad(b), m.rates.cpuLoad(a)) },
		byMemory: func(a, b control.Connection) int {
			return cmp.Compare(orZero(b.RSS), orZero(a.RSS))
		},
		byBytes: func(a, b control.Connection) int {
			return cmp.Compare(orZero(b.BytesIn)+orZero(b.BytesOut), orZero(a.BytesIn)+orZero(a.BytesOut))
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

// orZero returns a number, and 0 for an unknown one.
func orZero(n *uint64) uint64 {
	if n == nil {
		return 0
	}
	return *n
}
