package master

import (
	"github.com/preforkd/preforkd/master/sockdiag"
)

// lookAtSockets fills in what the kernel knows of sockets: what has gone over
// connections, whose descriptors only their workers have, and the queues of
// listeners. What it does not tell stays not known.
func (s *snapshot) lookAtSockets() {
	status := &s.status
	var ports []uint16
	seen := map[uint16]bool{}
	for _, pair := range s.sockets {
		if port := pair.Local.Port(); pair.Local.IsValid() && !seen[port] {
			seen[port] = true
			ports = append(ports, port)
		}
	}
	if len(ports) > sockdiag.MaxPorts {
		ports = ports[:sockdiag.MaxPorts]
	}
	if len(ports) > 0 {
		// One family may be known and the other not.
		bytes, _ := sockdiag.Connections(ports...)
		for i, pair := range s.sockets {
			if b, ok := bytes[pair]; ok {
				status.Connections[i].BytesIn, status.Connections[i].BytesOut = &b.In, &b.Out
			}
		}
	}

	var queues map[uint64]sockdiag.Queue // of unix sockets, once one is looked for
	for i := range status.Services {
		for j, l := range s.listeners[i] {
			shown := &status.Services[i].Listeners[j]
			if waiting, most, ok := l.Queue(); ok {
				shown.Queue, shown.Backlog = &waiting, &most
				continue
			}
			if queues == nil {
				queues, _ = sockdiag.Listening()
			}
			inode, err := l.Inode()
			if q, ok := queues[inode]; ok && err == nil {
				shown.Queue, shown.Backlog = &q.Length, &q.Backlog
			}
		}
	}
}
