package admin

import (
	"fmt"
	"math"

	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/listen"
)

// A Plan is what a configuration says of the servers, with users, groups
// and host names looked up.
type Plan struct {
	path           string // of the control socket; "" for none
	automatic      bool   // nobody has asked for that path
	file           control.File
	metricsAddress string // as it is configured; "" for none
	metricsBind    string // the same with its name resolved
}

// NewPlan looks up what a configuration says of the servers. It may wait for
// name servers.
func NewPlan(cfg *config.Config) (p Plan, err error) {
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
