package status

import (
	"fmt"

	"github.com/preforkd/preforkd/master/sockdiag"
)

// addSockets fills in what the kernel knows of sockets: the bytes of connections,
// whose descriptors only their workers have, the queues of listeners, and which
// listeners no client can reach. What the kernel does not tell is left out.
func (v *View) addSockets() {
	v.addBytes()
	var unixQueues map[uint64]sockdiag.Queue // by inode; nil until one is needed
	for i := range v.status.Services {
		for j, l := range v.listeners[i] {
			if err := l.Lost(); err != nil {
				v.health[i].unreachable = append(v.health[i].unreachable, fmt.Sprintf("%s cannot be reached: %v", l.Local(), err))
			}
			shown := &v.status.Services[i].Listeners[j]
			if waiting, most, ok := l.Queue(); ok {
				shown.Queue, shown.Backlog = &waiting, &most
				continue
			}
			if unixQueues == nil {
				unixQueues, _ = sockdiag.Listening()
			}
			inode, err := l.Inode()
			if q, ok := unixQueues[inode]; ok && err == nil {
				shown.Queue, shown.Backlog = &q.Length, &q.Backlog
			}
		}
	}
}

// addBytes fills in how many bytes have gone over each connection.
func (v *View) addBytes() {
	var ports []uint16
	seen := map[uint16]bool{}
	for _, pair := range v.sockets {
		if port := pair.Local.Port(); pair.Local.IsValid() && !seen[port] {
			seen[port] = true
			ports = append(ports, port)
		}
	}
	if len(ports) > sockdiag.MaxPorts {
		ports = ports[:sockdiag.MaxPorts]
	}
	if len(ports) == 0 {
		return
	}
	// An error of one address family leaves what the other one told.
	bytes, _ := sockdiag.Connections(ports...)
	for i, pair := range v.sockets {
		if b, ok := bytes[pair]; ok {
			v.status.Connections[i].BytesIn, v.status.Connections[i].BytesOut = &b.In, &b.Out
		}
	}
}
