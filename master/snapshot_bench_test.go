package master

import (
	"strconv"
	"testing"
	"time"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/listen"
)

// BenchmarkSnapshot measures for how long a look at ten thousand connections
// keeps the loop, which accepts nobody meanwhile and reaps nobody.
func BenchmarkSnapshot(b *testing.B) {
	const n = 10_000
	s := &service{
		Service: config.Service{Name: "test"},
		books:   newBooks(admit.Policy{MaxConnections: n, V4Bits: 32, V6Bits: 64, MaxSources: 1}),
		pool:    newPool(0, 0),
	}
	m := &Master{table: newTable(), spawns: newOutcomes(), services: []*service{s}, books: map[string]*books{s.Name: s.books}}
	now := time.Now()
	for i := range n {
		c := &connection{service: s, conn: &listen.Conn{}, id: strconv.Itoa(i), name: "192.0.2.1:1", privacy: &m.privacy, local: "192.0.2.2:2", accepted: now}
		m.table.workers[i] = &worker{service: s, state: serving, since: now, conn: c}
		s.spawns.record(time.Duration(i) * time.Microsecond)
	}
	for b.Loop() {
		if got := m.snapshot(now, true); len(got.status.Connections) != n {
			b.Fatal(len(got.status.Connections))
		}
	}
}
