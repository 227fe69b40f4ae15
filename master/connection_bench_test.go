package master

import (
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
)

// BenchmarkConnection is what a connection costs the master from the moment
// that it is accepted until its books are closed, all but the process: the
// decision, the books, what its program is told, and two events in the log.
func BenchmarkConnection(b *testing.B) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	log, err := logging.New(logging.Options{Format: logging.FormatJSON, Output: null})
	if err != nil {
		b.Fatal(err)
	}
	for _, handoff := range []config.Handoff{config.HandoffStdio, config.HandoffWorker} {
		b.Run(string(handoff), func(b *testing.B) {
			m := &Master{log: log.Logger, closing: make(chan struct{}), spawns: newOutcomes(), table: newTable()}
			m.ids.init(time.Now())
			s := &service{
				Service: config.Service{Name: "test", Handoff: handoff, ConnectionsPerWorker: 1},
				books:   newBooks(admit.Policy{MaxConnections: 1, Wait: true, V4Bits: 32, V6Bits: 64, MaxSources: 64}),
				pool:    newPool(0, 0),
				env:     baseEnvironment("test"),
				log:     log.With(logging.Service("test")),
			}
			m.services, m.books = []*service{s}, map[string]*books{s.Name: s.books}
			s.command.Control = handoff == config.HandoffWorker
			pid := 1
			s.spawn = func(c *connection) (*worker, error) {
				w := s.newWorker(c)
				if s.command.Control {
					if _, err := c.assignment(w.reusable(), false); err != nil {
						return w, err
					}
				}
				if len(c.environment()) == 0 {
					b.Error("no environment")
				}
				pid++
				w.child = &process.Child{Pid: pid, Control: -1}
				return w, c.file.Close()
			}
			b.ReportAllocs()
			for b.Loop() {
				fd, err := unix.FcntlInt(null.Fd(), unix.F_DUPFD_CLOEXEC, 0)
				if err != nil {
					b.Fatal(err)
				}
				conn := &listen.Conn{
					FD:    fd,
					Peer:  netip.MustParseAddrPort("127.0.0.1:50312"),
					Local: netip.MustParseAddrPort("127.0.0.1:7007"),
				}
				if !s.gate.Reserve() {
					b.Fatal("no slot is free")
				}
				if err := m.serve(s, conn); err != nil {
					b.Fatal(err)
				}
				m.takeSpawns()
				m.exited(process.Exit{Pid: pid})
			}
			if s.reaped != uint64(b.N) || len(m.table.workers) > 0 {
				b.Errorf("%d of %d connections have ended, %d workers are left", s.reaped, b.N, len(m.table.workers))
			}
		})
	}
	if err := log.Close(time.Minute); err != nil {
		b.Error(err)
	}
}
