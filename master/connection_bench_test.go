package master

import (
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/dispatch"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/service/servicetest"
)

// An instantStarter starts workers that have ended already.
type instantStarter struct{ pid int }

func (s *instantStarter) Start(_ *process.Command, conn *os.File, env []string, _ []byte) (*process.Child, error) {
	s.pid++
	return &process.Child{Pid: s.pid, Control: -1}, nil
}

// BenchmarkConnection is what a connection costs the master from the moment that
// it is accepted until its account is closed, all but the process: the decision,
// the accounts, what its program is told, and two events in the log.
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
			starter := &instantStarter{}
			reaped := 0
			one := func(pid int) (process.Exit, bool) {
				if reaped == starter.pid {
					return process.Exit{}, false
				}
				reaped = starter.pid
				return process.Exit{Pid: reaped}, true
			}
			m, err := assemble(config.Config{}, origin{started: time.Now(), ids: service.NewIDs(time.Now())}, nil, nil, log, seams{
				dispatch: dispatch.Config{Starter: starter}, wait: one,
			})
			if err != nil {
				b.Fatal(err)
			}
			cfg := servicetest.Config(b, "[service.test]\n"+listenText+"program = ['/bin/cat']\nhandoff = '"+string(handoff)+"'\nmax-connections = 1\n")
			cfg.Control = config.ControlNone
			c, err := m.services.compile(&cfg, nil)
			if err == nil {
				_, err = m.install(c)
			}
			if err != nil {
				b.Fatal(err)
			}
			defer m.discard()
			s := m.services.inForce[0]
			ids := service.NewIDs(time.Now())
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
				if !s.Gate.Reserve() {
					b.Fatal("no slot is free")
				}
				s.Ledger.Accepted()
				d := s.Gate.Admit(admit.Peer{Addr: conn.Peer.Addr()}, time.Now(), true)
				if err := m.dispatcher.Dispatch(service.NewConnection(s.Spec(), conn, d, ids.Next(), m.services.redact)); err != nil {
					b.Fatal(err)
				}
				m.reap()
			}
			if totals := s.Totals(); totals.Completed != uint64(b.N) || m.workers.Len() > 0 {
				b.Errorf("%d of %d connections have ended, %d workers are left", totals.Completed, b.N, m.workers.Len())
			}
		})
	}
	if err := log.Close(time.Minute); err != nil {
		b.Error(err)
	}
}
