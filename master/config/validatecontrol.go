package config

import (
	"errors"
	"strings"
)

// validateControl looks at where the control socket is to be and whose it is
// to be.
func (c *Config) validateControl(v validator) {
	switch path := c.Control; {
	case path == ControlAuto || path == ControlNone:
	case strings.HasPrefix(path, "@"):
		// An abstract name has no file whose mode could keep anybody out.
		v.bad("control", path, "must be the path of a file, because the file says who may connect")
	case !strings.HasPrefix(path, "/"):
		// A master and its clients seldom have the same directory.
		v.bad("control", path, "must be %s, %s or an absolute path", ControlAuto, ControlNone)
	case strings.ContainsRune(path, 0):
		v.bad("control", path, "must not hold a NUL byte")
	case len(path) > MaxUnixPath:
		v.bad("control", path, "has %d bytes, at most %d are allowed", len(path), MaxUnixPath)
	}
	for i := range c.Services {
		for _, address := range c.Services[i].Listen {
			if address.IsUnix() && address.Path == c.Control {
				v.bad("control", c.Control, "service %s listens there", c.Services[i].Name)
			}
		}
	}
	if c.ControlOwner != "" {
		if _, _, err := lookupUser(c.ControlOwner); err != nil {
			v.bad("control-owner", c.ControlOwner, "%v", err)
		}
	}
	if c.ControlGroup != "" {
		if _, err := lookupGroup(c.ControlGroup); err != nil {
			v.bad("control-group", c.ControlGroup, "%v", err)
		}
	}
}

// validateMetrics looks at where the metrics are to be served.
func (c *Config) validateMetrics(v validator) {
	if c.Metrics == "" {
		return
	}
	address, err := ParseAddress(c.Metrics)
	switch {
	case err != nil:
		v.bad("metrics", c.Metrics, "%v", errors.Unwrap(err))
	case address.IsUnix():
		v.bad("metrics", c.Metrics, "must be a TCP address; they are on the control socket anyway")
	}
	for i := range c.Services {
		for _, other := range c.Services[i].Listen {
			if err == nil && overlap(address, other) {
				v.bad("metrics", c.Metrics, "service %s listens at %v", c.Services[i].Name, other)
			}
		}
	}
}
