package config

import (
	"errors"
	"fmt"
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
// an error of type ConfigErrors. It looks for the programs, directories and
// accounts that the configuration names. It changes nothing.
func (c *Config) Validate() error {
	var errs ConfigErrors
	c.validate(&errs)
	return errs.err()
}

func (c *Config) validate(errs *ConfigErrors) {
	for _, d := range []struct {
		key   string
		value time.Duration
	}{{"drain-timeout", c.DrainTimeout}, {"kill-delay", c.KillDelay}} {
		if d.value < 0 {
			errs.add(c.at.find(d.key), "%s %v: must not be negative", d.key, d.value)
		}
	}
	if c.Once && len(c.Services) > 1 {
		errs.add(c.Services[1].at.find(), "once: there are %d services, and one connection can be of one only", len(c.Services))
	}
	c.validateControl(validator{c.scope(), c.at, errs})
	c.validateMetrics(validator{c.scope(), c.at, errs})
	c.validateAddresses(errs)
	workerMissing := false
	for i := range c.Services {
		s := &c.Services[i]
		if s.kept {
			continue
		}
		v := validator{s.scope(), s.at, errs}
		if s.at.inFile() && !s.at.has("listen") && !c.Activated {
			errs.add(s.at.find(), "%slisten is missing, and no socket was passed by a service manager", v.scope)
		}
		s.validate(v)
		f := s.validateBox(errs)
		if f == nil {
			continue // what workers find is not known
		}
		f.known = c.known
		s.validateDirectory(v, f)
		// One error about the worker binary is enough for all services.
		if s.Handler == "" || !workerMissing || f.view != nil {
			err := c.validateCommands(s, v, f)
			workerMissing = workerMissing || err != nil && s.Handler != ""
		}
		f.close()
	}
}

// validateCommands checks whether what the service starts can be started. It
// returns why there is no such program.
func (c *Config) validateCommands(s *Service, v validator, f *finder) error {
	if !v.validateStrings("program", s.Program) {
		return nil
	}
	spares := s.MaxSpares > 0 && s.Handoff != HandoffWorker
	commands, err := c.commands(f, s, s.Program)
	if err != nil {
		at := s.at.find("program[0]", "program", "handler")
		if s.Handler != "" && c.at.has("worker-binary") {
			at = c.at.find("worker-binary")
		}
		v.errs.add(at, "%s%v", v.scope, err)
	} else {
		v.validateSize(commands, spares, s.Environment())
	}
	for i := range s.Rules {
		r := &s.Rules[i]
		of := validator{fmt.Sprintf("%srule %d: ", v.scope, i+1), r.at, v.errs}
		changed := commands
		if len(r.Program) > 0 {
			if !of.validateStrings("program", r.Program) {
				continue
			}
			var err error
			if changed, err = c.commands(f, s, r.Program); err != nil {
				v.errs.add(r.at.find("program[0]", "program"), "%s%v", of.scope, err)
				continue
			}
		}
		if len(r.Env)+len(r.Program) > 0 {
			// A rule's program is no spare's.
			of.validateSize(changed, spares && len(r.Program) == 0, s.Environment(), r.Env)
		}
	}
	return err
}

// scope returns the start of messages about a service. It is empty with flags,
// because then there is only one service.
func (s *Service) scope() string {
	if !s.at.inFile() {
		return ""
	}
	return "service." + tomlKey(s.Name) + ": "
}

// scope returns the start of messages about the master's table.
func (c *Config) scope() string {
	if !c.at.inFile() {
		return ""
	}
	return "master: "
}

// A validator reports errors in one table.
type validator struct {
	scope string
	at    positions
	errs  *ConfigErrors
}

// report reports that the value of a key is wrong.
func (v validator) report(key string, value any, format string, args ...any) {
	name, _, _ := strings.Cut(key, "[")
	if s, ok := value.(string); ok {
		value = quoted(s)
	}
	at, scope := v.at.find(key, name), v.scope
	if scope != "" && !at.IsValid() {
		scope = "--" // a flag beside a file
	}
	v.errs.add(at, "%s%s %v: %s", scope, name, value, fmt.Sprintf(format, args...))
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
}
