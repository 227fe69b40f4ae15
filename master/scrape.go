package master

import (
	"fmt"
	"net/http"

	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/metrics"
)

// scrape is how the master's metrics are read: over the control socket, and at an
// address if the configuration has one. The loop owns it.
type scrape struct {
	handler http.Handler
	address string          // as it is configured
	server  *metrics.Server // at address; nil when that is empty
}

// openMetrics returns the server for an address that is configured, which is the
// one that there is if that has not changed. On success nothing about the
// present one has changed.
func (m *Master) openMetrics(address string) (*metrics.Server, error) {
	switch address {
	case "":
		return nil, nil
	case m.scrape.address:
		return m.scrape.server, nil
	}
	server, err := metrics.Listen(address)
	if err != nil {
		return nil, fmt.Errorf("serve metrics: %w", err)
	}
	return server, nil
}

// useMetrics puts what openMetrics has returned in the place of what there is.
func (m *Master) useMetrics(server *metrics.Server, address string) {
	before := m.scrape.server
	if server == before {
		return
	}
	m.scrape.server, m.scrape.address = server, address
	if server != nil {
		server.Serve(m.scrape.handler)
		m.log.Info(logging.EventMetrics, logging.Local(server.Local()))
	}
	if before != nil {
		m.control.closing.Go(func() { m.endMetrics(before) })
	}
}

func (m *Master) endMetrics(server *metrics.Server) {
	if err := server.Close(); err != nil {
		m.log.Warn(logging.EventMetrics, logging.Error(err))
	}
}
