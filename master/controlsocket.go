package master

import (
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/logging"
)

// A controlSocket is the master's control socket, or why there is none. The
// loop owns it.
type controlSocket struct {
	server  *control.Server // nil: there is none
	file    control.File
	missing error // why, where there should be one

	closing sync.WaitGroup // servers that have been replaced
}

// openControl returns the control server that a configuration asks for, which is
// the one that there is if that will do. In place of one that was not asked for
// by its path and cannot be there is none, and a reason; where a path was given
// it is an error. On success nothing about the present one has changed.
func (m *Master) openControl(cfg *config.Config) (server *control.Server, file control.File, missing, err error) {
	file.Mode = -1
	if cfg.ControlMode.Set {
		file.Mode = int(cfg.ControlMode.Bits & math.MaxInt16)
	}
	if file.UID, file.GID, err = cfg.ControlIdentity(); err != nil {
		return nil, file, nil, fmt.Errorf("control socket: %w", err)
	}
	path := cfg.Control
	automatic := path == config.ControlAuto
	switch {
	case path == config.ControlNone, automatic && cfg.Once:
		return nil, file, nil, nil
	case automatic:
		if path, missing = control.DefaultPath(); missing != nil {
			return nil, file, missing, nil
		}
	}
	if now := m.control.server; now != nil && now.Path() == path && !now.Vanished() {
		return now, file, nil, nil
	}
	server, err = control.Open(path, file, m.log)
	switch {
	case err == nil:
		server.Metrics = m.scrape.handler
	case automatic:
		return nil, file, err, nil
	}
	return server, file, nil, err
}

// useControl puts what openControl has returned in the place of what there is.
func (m *Master) useControl(server *control.Server, file control.File, missing error) {
	before := m.control.server
	if server == before && server != nil {
		if file != m.control.file {
			if err := server.Apply(file); err != nil {
				m.log.Warn(logging.EventControl, logging.Error(err))
			}
		}
		m.control.file = file
		return
	}
	m.control.server, m.control.file, m.control.missing = server, file, missing
	switch {
	case server != nil:
		m.log.Info(logging.EventControl, logging.Local("unix:"+server.Path()))
	case errors.Is(missing, control.ErrNoRuntimeDirectory):
		// Nobody has asked for one, and nothing is wrong.
		m.control.missing = nil
		m.log.Info(logging.EventControl, logging.Reason("there is no control socket"), logging.Error(missing))
	case missing != nil:
		m.log.Warn(logging.EventControl, logging.Reason("there is no control socket"), logging.Error(missing))
	case before != nil:
		m.log.Info(logging.EventControl, logging.Reason("there is no control socket any more"))
	}
	if before != nil {
		// It may be the one over which the reload was asked for, and wait for
		// its answer to go out.
		m.control.closing.Go(func() { m.endControl(before) })
	}
}

func (m *Master) endControl(server *control.Server) {
	if err := server.Close(); err != nil {
		m.log.Warn(logging.EventControl, logging.Error(err))
	}
}

// closeControl ends the control socket and the metrics' address, when the loop has come to its end.
func (m *Master) closeControl() {
	close(m.over)
	if m.control.server != nil {
		m.endControl(m.control.server)
	}
	if m.scrape.server != nil {
		m.endMetrics(m.scrape.server)
	}
	m.control.closing.Wait()
}
