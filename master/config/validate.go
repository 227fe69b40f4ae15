package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/preforkd/preforkd/ipc"
)

// ReservedPrefix begins the names of listeners that the master stores with the
// service manager. A socket that is passed with another name belongs to the
// service of that name.
const ReservedPrefix = "stored."

// reservedVariables are the environment variables that preforkd sets for each
// connection.
var reservedVariables = []string{
	ipc.EnvProto, ipc.EnvTCPLocalIP, ipc.EnvTCPLocalPort, ipc.EnvTCPRemoteIP, ipc.EnvTCPRemotePort, ipc.EnvTCPConnNum,
	ipc.EnvRemoteAddr, ipc.EnvRemotePort, ipc.EnvIPCRemoteEUID, ipc.EnvIPCRemoteEGID, ipc.EnvIPCRemotePath,
	ipc.EnvService, ipc.EnvConnection, ipc.EnvVersion,
}

// Validate reports everything that is wrong with a completed configuration, as
// an error of type Mistakes. It looks for the programs, directories and
// accounts that the configuration names. It changes nothing.
func (c *Config) Validate() error {
	var mistakes Mistakes
	c.validate(&mistakes)
	return mistakes.err()
}

func (c *Config) validate(mistakes *Mistakes) {
	for _, d := range []struct {
		key   string
		value time.Duration
	}{{"drain-timeout", c.DrainTimeout}, {"kill-delay", c.KillDelay}} {
		if d.value < 0 {
			mistakes.add(c.at.find(d.key), "%s %v: must not be negative", d.key, d.value)
		}
	}
	if c.Once && len(c.Services) > 1 {
		mistakes.add(c.Services[1].at.find(), "once: there are %d services, and one connection can be of one only", len(c.Services))
	}
	c.validateControl(validator{c.scope(), c.at, mistakes})
	c.validateMetrics(validator{c.scope(), c.at, mistakes})
	c.validateAddresses(mistakes)
	workerChecked := false
	for i := range c.Services {
		s := &c.Services[i]
		v := validator{s.scope(), s.at, mistakes}
		if s.at != nil && !s.at.has("listen") && !c.Activated {
			mistakes.add(s.at[""], "%slisten is missing, and no socket was passed by a service manager", v.scope)
		}
		s.validate(v)
		if s.Handler != "" {
			if workerChecked {
				continue // one error is enough for all services
			}
			workerChecked = true
		}
		if _, err := c.commands(s, s.Program); err != nil {
			at := s.at.find("program[0]", "program", "handler")
			if s.Handler != "" && c.at.has("worker-binary") {
				at = c.at.find("worker-binary")
			}
			mistakes.add(at, "%s%v", v.scope, err)
		}
		for j := range s.Rules {
			if r := &s.Rules[j]; len(r.Program) > 0 {
				if _, err := c.commands(s, r.Program); err != nil {
					mistakes.add(r.at.find("program[0]", "program"), "%srule %d: %v", v.scope, j+1, err)
				}
			}
		}
	}
}

// scope returns the start of messages about a service. It is empty with flags,
// because then there is only one service.
func (s *Service) scope() string {
	if s.at == nil {
		return ""
	}
	return "service." + tomlKey(s.Name) + ": "
}

// scope returns the start of messages about the master's table.
func (c *Config) scope() string {
	if c.at == nil {
		return ""
	}
	return "master: "
}

// A validator reports errors in one table.
type validator struct {
	scope    string
	at       positions
	mistakes *Mistakes
}

// report reports that the value of a key is wrong.
func (v validator) report(key string, value any, format string, args ...any) {
	name, _, _ := strings.Cut(key, "[")
	if s, ok := value.(string); ok {
		value = quoted(s)
	}
	v.mistakes.add(v.at.find(key, name), "%s%s %v: %s", v.scope, name, value, fmt.Sprintf(format, args...))
}

// validateControl checks the path, owner and group of the control socket.
func (c *Config) validateControl(v validator) {
	switch path := c.Control; {
	case path == ControlAuto || path == ControlNone:
	case strings.HasPrefix(path, "@"):
		// An abstract name has no file mode that could refuse anybody.
		v.report("control", path, "must be the path of a file, because the file says who may connect")
	case !strings.HasPrefix(path, "/"):
		// A master and its clients seldom have the same working directory.
		v.report("control", path, "must be %s, %s or an absolute path", ControlAuto, ControlNone)
	case strings.ContainsRune(path, 0):
		v.report("control", path, "must not hold a NUL byte")
	case len(path) > MaxUnixPath:
		v.report("control", path, "has %d bytes, at most %d are allowed", len(path), MaxUnixPath)
	}
	for i := range c.Services {
		for _, address := range c.Services[i].Listen {
			if address.IsUnix() && address.Path == c.Control {
				v.report("control", c.Control, "service %s listens there", c.Services[i].Name)
			}
		}
	}
	if c.ControlOwner != "" {
		if _, _, err := lookupUser(c.ControlOwner); err != nil {
			v.report("control-owner", c.ControlOwner, "%v", err)
		}
	}
	if c.ControlGroup != "" {
		if _, err := lookupGroup(c.ControlGroup); err != nil {
			v.report("control-group", c.ControlGroup, "%v", err)
		}
	}
}

// validateMetrics checks the address of the metrics.
func (c *Config) validateMetrics(v validator) {
	if c.Metrics == "" {
		return
	}
	address, err := ParseAddress(c.Metrics)
	switch {
	case err != nil:
		v.report("metrics", c.Metrics, "%v", errors.Unwrap(err))
	case address.IsUnix():
		v.report("metrics", c.Metrics, "must be a TCP address; they are on the control socket anyway")
	}
	for i := range c.Services {
		for _, other := range c.Services[i].Listen {
			if err == nil && overlap(address, other) {
				v.report("metrics", c.Metrics, "service %s listens at %v", c.Services[i].Name, other)
			}
		}
	}
}

// validateAddresses reports addresses that cannot be bound together.
func (c *Config) validateAddresses(mistakes *Mistakes) {
	type endpoint struct {
		service *Service
		address Address
		at      Position
	}
	var endpoints []endpoint
	for i := range c.Services {
		s := &c.Services[i]
		for j, a := range s.Listen {
			here := endpoint{s, a, s.at.find("listen["+strconv.Itoa(j)+"]", "listen")}
			for _, other := range endpoints {
				if !overlap(a, other.address) || (s.ReusePort && other.service.ReusePort && a != other.address) {
					continue
				}
				first := "service " + other.service.Name
				if other.at.IsValid() {
					first = other.at.String()
				}
				if a == other.address {
					mistakes.add(here.at, "%slisten %v: listed twice, first for %s", s.scope(), a, first)
				} else {
					mistakes.add(here.at, "%slisten %v: is taken by %v, listed for %s", s.scope(), a, other.address, first)
				}
				break
			}
			endpoints = append(endpoints, here)
		}
	}
}

// overlap reports whether two addresses are the same, or one of them includes
// the other. It does not resolve host names.
func overlap(a, b Address) bool {
	switch {
	case a.IsUnix() || b.IsUnix():
		return a == b
	case a.Port != b.Port || a.Port == 0:
		return false
	case a == b:
		return true
	}
	isAny := func(a Address) bool { return a.Host == "" && !a.IP.IsValid() }
	covers := func(a, b Address) bool {
		return isAny(a) || a.IP.IsValid() && a.IP.IsUnspecified() && b.IP.IsValid() && a.IP.Is4() == b.IP.Is4()
	}
	return covers(a, b) || covers(b, a)
}
