package admin

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/ledger"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/metrics"
)

// A Master answers what operators ask.
type Master interface {
	control.Backend
	metrics.Master
}

// Servers are how operators reach the master: the control socket, and the address
// of the metrics if the configuration has one. Metrics are read over the control
// socket, too. The master's loop owns them.
type Servers struct {
	log     *zap.Logger
	backend control.Backend
	handler http.Handler // of the metrics
	now     Opened
	serving *control.Server // that answers already
	closing sync.WaitGroup  // servers that have been replaced

	paused   bool
	deferred []func() // what Resume is to do
	restored bool     // and attach has not been called yet
	carried  int      // the socket of the metrics as it went over, -1 for none
	// carriedControl is the control socket as it went over, nil for none.
	carriedControl *control.Server
}

// New returns Servers that have nothing open. The caller must call Close.
func New(m Master, log *zap.Logger) *Servers {
	labels := metrics.Labels{Reasons: admit.ReasonNames(), Causes: ledger.CauseNames()}
	return &Servers{log: log, backend: m, handler: metrics.Handler(m, labels), carried: -1}
}

// Control returns the control socket, nil for none, and why there is none where there
// should be one.
func (s *Servers) Control() (*control.Server, error) { return s.now.control, s.now.controlError }

// Opened are the servers of one configuration.
type Opened struct {
	control        *control.Server // nil: there is none
	file           control.File
	controlError   error           // why there is none where there should be one
	metrics        *metrics.Server // nil: there is none
	metricsAddress string          // as it is configured
}

// metricsSettleTime is how long the metrics are still served to those who have
// connected, after they have moved.
const metricsSettleTime = 250 * time.Millisecond

// Open returns the servers of a plan: those that there are if they will do, and
// new ones. A control socket that nobody has asked for by its path may be
// missing, for a reason; otherwise that is an error. Nothing about the present
// servers changes. Those that are new are not left on error. New ones may take
// the address of a socket that is leaving, which the caller closes.
func (s *Servers) Open(p Plan, leaving []listen.Controller) (next Opened, err error) {
	if err := s.attach(); err != nil {
		return next, err
	}
	next.metricsAddress, next.file = p.metricsAddress, p.file
	switch p.metricsAddress {
	case "":
	case s.now.metricsAddress:
		next.metrics = s.now.metrics
	default:
		if next.metrics, err = metrics.Listen(p.metricsBind, append(leaving, s.Leaving(p)...)); err != nil {
			return next, fmt.Errorf("serve metrics: %w", err)
		}
		if s.paused {
			if err := next.metrics.Pause(); err != nil {
				next.metrics.Close()
				return next, err
			}
		}
	}
	if next.control, next.controlError, err = s.openControl(p); err != nil && next.metrics != nil && next.metrics != s.now.metrics {
		next.metrics.Close()
	}
	return next, err
}

// Leaving returns the socket of the metrics if a plan has no use for it.
func (s *Servers) Leaving(p Plan) []listen.Controller {
	switch {
	case s.now.metricsAddress == p.metricsAddress:
	case s.now.metrics != nil:
		return []listen.Controller{s.now.metrics.Raw()}
	case s.carried >= 0:
		return []listen.Controller{socket(s.carried)}
	}
	return nil
}

func (s *Servers) openControl(p Plan) (server *control.Server, missing, err error) {
	switch now := s.now.control; {
	case p.path == "":
		return nil, nil, nil
	case now != nil && now.Path() == p.path && !now.Vanished():
		return now, nil, nil
	}
	server, err = control.Open(p.path, p.file, s.log)
	switch {
	case err == nil:
		server.Metrics = s.handler
		if s.paused {
			server.Pause()
		}
		return server, nil, nil
	case p.automatic && !errors.Is(err, listen.ErrBusy):
		return nil, err, nil
	}
	return nil, nil, err
}

// Swap puts servers in the place of the present ones. Serve has them answer. At the
// start the log tells of the control socket first.
func (s *Servers) Swap(next Opened) {
	before := s.now
	s.now = next
	if before == (Opened{}) {
		s.swapControl(before)
		s.swapMetrics(before)
		return
	}
	s.swapMetrics(before)
	s.swapControl(before)
}

func (s *Servers) swapMetrics(before Opened) {
	next := s.now
	if next.metrics == before.metrics {
		return
	}
	if next.metrics != nil {
		next.metrics.Serve(s.handler)
		s.log.Info(logging.EventMetrics, logging.Local(next.metrics.Local()))
	}
	if before.metrics != nil {
		s.whenResumed(func() { s.retireMetrics(before.metrics) })
	}
}

// retireMetrics closes a server. Another socket may have its address by now. Who has
// connected before gets an answer.
func (s *Servers) retireMetrics(server *metrics.Server) {
	server.StopArrivals()
	server.Resume()
	s.closing.Go(func() {
		time.Sleep(metricsSettleTime)
		s.closeMetrics(server)
	})
}

func (s *Servers) swapControl(before Opened) {
	next := s.now
	if next.control == before.control && next.control != nil {
		if next.file != before.file {
			s.whenResumed(func() { s.apply(next) })
		}
		return
	}
	switch {
	case next.control != nil:
		s.log.Info(logging.EventControl, logging.Local("unix:"+next.control.Path()))
	case next.controlError != nil:
		s.log.Warn(logging.EventControl, logging.Reason("there is no control socket"), logging.Error(next.controlError))
	case before.control != nil:
		s.log.Info(logging.EventControl, logging.Reason("there is no control socket any more"))
	}
	if before.control != nil {
		// It may be the one over which the reload was asked for, and wait for
		// its answer to go out.
		s.whenResumed(func() {
			s.closing.Go(func() { s.closeControl(before.control) })
		})
	}
}

// apply gives the file of the control socket its owner and mode.
func (s *Servers) apply(o Opened) {
	if err := o.control.Apply(o.file); err != nil {
		s.log.Warn(logging.EventControl, logging.Error(err))
	}
}

// Serve has the control socket answer, if it does not yet.
func (s *Servers) Serve() {
	if now := s.now.control; now != nil && now != s.serving {
		now.Serve(s.backend)
		s.serving = now
	}
}

func (s *Servers) closeControl(server *control.Server) {
	if err := server.Close(); err != nil {
		s.log.Warn(logging.EventControl, logging.Error(err))
	}
}

func (s *Servers) closeMetrics(server *metrics.Server) {
	if err := server.Close(); err != nil {
		s.log.Warn(logging.EventMetrics, logging.Error(err))
	}
}

// Close ends the control socket and the metrics, and waits for those that were
// replaced.
func (s *Servers) Close() {
	if s.now.control != nil {
		s.closeControl(s.now.control)
	}
	if s.now.metrics != nil {
		s.closeMetrics(s.now.metrics)
	}
	s.closing.Wait()
}
