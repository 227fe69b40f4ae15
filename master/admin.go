package master

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/ledger"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/metrics"
)

// admin is how operators reach the master: the control socket, and the address
// of the metrics if the configuration has one. Metrics are read over the control
// socket, too.
type admin struct {
	log     *zap.Logger
	backend control.Backend
	handler http.Handler // of the metrics
	servers adminServers
	serving *control.Server // that answers already
	closing sync.WaitGroup  // servers that have been replaced
}

// adminServers are the servers of one configuration.
type adminServers struct {
	control        *control.Server // nil: there is none
	file           control.File
	controlError   error           // why there is none where there should be one
	metrics        *metrics.Server // nil: there is none
	metricsAddress string          // as it is configured
}

// metricsSettleTime is how long the metrics are still served to those who have
// connected, after they have moved.
const metricsSettleTime = 250 * time.Millisecond

// An adminPlan is what a configuration says of the servers, with users, groups
// and host names looked up.
type adminPlan struct {
	path           string // of the control socket; "" for none
	automatic      bool   // nobody has asked for that path
	file           control.File
	metricsAddress string // as it is configured; "" for none
	metricsBind    string // the same with its name resolved
}

func newAdmin(m *Master, log *zap.Logger) admin {
	labels := metrics.Labels{Reasons: admit.ReasonNames(), Causes: ledger.CauseNames()}
	return admin{log: log, backend: m, handler: metrics.Handler(m, labels)}
}

// planAdmin looks up what a configuration says of the servers. It may wait for
// name servers.
func planAdmin(cfg *config.Config) (p adminPlan, err error) {
	p.metricsAddress = cfg.Metrics
	if p.metricsBind, err = resolveMetrics(cfg.Metrics); err != nil {
		return p, fmt.Errorf("serve metrics: listen %s: %w", cfg.Metrics, err)
	}
	p.file.Mode = -1
	if cfg.ControlMode.Set {
		p.file.Mode = int(cfg.ControlMode.Bits & math.MaxInt16)
	}
	if p.file.UID, p.file.GID, err = cfg.ControlIdentity(); err != nil {
		return p, fmt.Errorf("control socket: %w", err)
	}
	p.path, p.automatic = cfg.Control, cfg.Control == config.ControlAuto
	switch {
	case p.path == config.ControlNone, p.automatic && cfg.Once:
		p.path, p.automatic = "", false
	case p.automatic:
		p.path = control.DefaultPath()
	}
	return p, nil
}

// resolveMetrics returns an address whose host is no name. Of several addresses
// it is the first one of IPv4, as package net would choose.
func resolveMetrics(address string) (string, error) {
	if address == "" {
		return "", nil
	}
	a, err := config.ParseAddress(address)
	if err != nil {
		return "", err
	}
	if a.Host == "" {
		return a.String(), nil
	}
	found, err := listen.Resolve(a)
	if err != nil {
		return "", err
	}
	return config.PreferIPv4(found).String(), nil
}

// open returns the servers of a plan: those that there are if they will do, and
// new ones. A control socket that nobody has asked for by its path may be
// missing, for a reason; otherwise that is an error. Nothing about the present
// servers changes. Those that are new are not left on error. New ones may take
// the address of a socket that is leaving, which the caller closes.
func (a *admin) open(p adminPlan, leaving []listen.Controller) (next adminServers, err error) {
	next.metricsAddress, next.file = p.metricsAddress, p.file
	switch p.metricsAddress {
	case "":
	case a.servers.metricsAddress:
		next.metrics = a.servers.metrics
	default:
		if next.metrics, err = metrics.Listen(p.metricsBind, append(leaving, a.leaving(p)...)); err != nil {
			return next, fmt.Errorf("serve metrics: %w", err)
		}
	}
	if next.control, next.controlError, err = a.openControl(p); err != nil && next.metrics != nil && next.metrics != a.servers.metrics {
		next.metrics.Close()
	}
	return next, err
}

// leaving returns the socket of the metrics if a plan has no use for it.
func (a *admin) leaving(p adminPlan) []listen.Controller {
	if a.servers.metrics == nil || a.servers.metricsAddress == p.metricsAddress {
		return nil
	}
	return []listen.Controller{a.servers.metrics.Raw()}
}

func (a *admin) openControl(p adminPlan) (server *control.Server, missing, err error) {
	switch now := a.servers.control; {
	case p.path == "":
		return nil, nil, nil
	case now != nil && now.Path() == p.path && !now.Vanished():
		return now, nil, nil
	}
	server, err = control.Open(p.path, p.file, a.log)
	switch {
	case err == nil:
		server.Metrics = a.handler
		return server, nil, nil
	case p.automatic && !errors.Is(err, listen.ErrBusy):
		return nil, err, nil
	}
	return nil, nil, err
}

// swap puts servers in the place of the present ones. serve has them answer. At the
// start the log tells of the control socket first.
func (a *admin) swap(next adminServers) {
	before := a.servers
	a.servers = next
	if before == (adminServers{}) {
		a.swapControl(before)
		a.swapMetrics(before)
		return
	}
	a.swapMetrics(before)
	a.swapControl(before)
}

func (a *admin) swapMetrics(before adminServers) {
	next := a.servers
	if next.metrics == before.metrics {
		return
	}
	if next.metrics != nil {
		next.metrics.Serve(a.handler)
		a.log.Info(logging.EventMetrics, logging.Local(next.metrics.Local()))
	}
	if before.metrics != nil {
		// Another socket may have its address by now. Who has connected before
		// gets an answer.
		before.metrics.StopArrivals()
		a.closing.Go(func() {
			time.Sleep(metricsSettleTime)
			a.closeMetrics(before.metrics)
		})
	}
}

func (a *admin) swapControl(before adminServers) {
	next := a.servers
	if next.control == before.control && next.control != nil {
		if next.file != before.file {
			if err := next.control.Apply(next.file); err != nil {
				a.log.Warn(logging.EventControl, logging.Error(err))
			}
		}
		return
	}
	switch {
	case next.control != nil:
		a.log.Info(logging.EventControl, logging.Local("unix:"+next.control.Path()))
	case next.controlError != nil:
		a.log.Warn(logging.EventControl, logging.Reason("there is no control socket"), logging.Error(next.controlError))
	case before.control != nil:
		a.log.Info(logging.EventControl, logging.Reason("there is no control socket any more"))
	}
	if before.control != nil {
		// It may be the one over which the reload was asked for, and wait for
		// its answer to go out.
		a.closing.Go(func() { a.closeControl(before.control) })
	}
}

// serve has the control socket answer, if it does not yet.
func (a *admin) serve() {
	if s := a.servers.control; s != nil && s != a.serving {
		s.Serve(a.backend)
		a.serving = s
	}
}

func (a *admin) closeControl(server *control.Server) {
	if err := server.Close(); err != nil {
		a.log.Warn(logging.EventControl, logging.Error(err))
	}
}

func (a *admin) closeMetrics(server *metrics.Server) {
	if err := server.Close(); err != nil {
		a.log.Warn(logging.EventMetrics, logging.Error(err))
	}
}

// closeAdmin ends the control socket and the metrics, when the loop has come to
// its end.
func (m *Master) closeAdmin() {
	close(m.loop.done)
	a := &m.admin
	if a.servers.control != nil {
		a.closeControl(a.servers.control)
	}
	if a.servers.metrics != nil {
		a.closeMetrics(a.servers.metrics)
	}
	a.closing.Wait()
}
