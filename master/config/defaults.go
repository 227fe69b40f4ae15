package config

import (
	"path/filepath"
	"strings"
	"time"
	"unicode"
)

// Defaults of some keys.
const (
	DefaultListen         = "127.0.0.1:7007"
	DefaultHandler        = "echo"
	DefaultMaxConnections = 256

	DefaultConnectionsPerWorker = 1

	DefaultDrainTimeout = 30 * time.Second
	DefaultKillDelay    = 5 * time.Second

	DefaultControlMode = 0o660
)

// Values of Control that are not a path.
const (
	ControlAuto = "auto" // in the runtime directory, or else in /tmp
	ControlNone = "none"
)

// Handlers lists the built-in handlers by name.
var Handlers = []string{"echo"}

// Default returns a configuration without services.
func Default() Config {
	return Config{
		DrainTimeout: DefaultDrainTimeout, KillDelay: DefaultKillDelay,
		LogPeer: LogPeerFull,
		Control: ControlAuto, ControlMode: FileMode{true, DefaultControlMode},
	}
}

// DefaultService returns a service with its defaults.
func DefaultService() Service {
	return Service{
		Stderr:         StderrInherit,
		Leftovers:      LeftoversKill,
		LingeringClose: true,
		HangUp:         HangUpKeep,
		HangUpGrace:    5 * time.Second,
		Log:            LogAll,
		MaxConnections: DefaultMaxConnections,

		ConnectionsPerWorker: DefaultConnectionsPerWorker,

		SourcePrefixV4: 32,
		SourcePrefixV6: 64,
		MaxSources:     65536,
		Overflow:       OverflowWait,
		Penalty:        10 * time.Second,
		PenaltyGrowth:  2,
		PenaltyMax:     10 * time.Minute,
		ProxyTimeout:   5 * time.Second,
		NoDelay:        true,
		// If a peer vanishes without closing its connection, the worker holds
		// its slot until the kernel notices. The kernel's default is two hours
		// (tcp(7)).
		Keepalive: time.Minute, UserTimeout: 2 * time.Minute,
		V6Only: true,
		Box:    new(PresetBox(BoxNone)),
	}
}

// DefaultRule returns a rule with its defaults.
func DefaultRule() Rule { return Rule{Action: ActionAllow} }

// Complete fills in fields that follow from others: the handler, its handoff,
// the address and the name of the service. It does not change fields that are
// set. It gives numbers no default, because a person may have written the 0.
func (c *Config) Complete() {
	for i := range c.Services {
		c.Services[i].complete()
		c.completeProcessors(&c.Services[i])
	}
}

func (s *Service) complete() {
	if s.Handler == "" && len(s.Program) == 0 {
		s.Handler = DefaultHandler
	}
	if s.Handoff == "" {
		s.Handoff = HandoffWorker
		if len(s.Program) > 0 {
			s.Handoff = HandoffStdio
		}
	}
	if len(s.Listen) == 0 && !s.at.inFile() {
		// In a file, a service lists its addresses or has sockets passed to it.
		address, err := ParseAddress(DefaultListen)
		if err != nil {
			panic(err)
		}
		s.Listen = []Address{address}
	}
	if s.Name == "" {
		s.Name = s.Handler
		if len(s.Program) > 0 {
			s.Name = serviceName(s.Program[0])
		}
	}
	if s.Burst == 0 {
		s.Burst = s.Rate.Count
	}
	if s.BurstPerSource == 0 {
		s.BurstPerSource = s.RatePerSource.Count
	}
}

// serviceName makes a service's name from the path of its program. A path may
// have any bytes. A name appears in logs and in the environment.
func serviceName(program string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(filepath.Base(program), "_"))
}
