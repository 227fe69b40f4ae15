package config

import (
	"path/filepath"
	"time"
)

// Defaults of the keys that have one.
const (
	DefaultListen         = "127.0.0.1:7007"
	DefaultHandler        = "echo"
	DefaultMaxConnections = 256
	DefaultDrainTimeout   = 30 * time.Second
	DefaultKillDelay      = 5 * time.Second
)

// Handlers lists the built-in handlers by name.
var Handlers = []string{"echo"}

// Complete fills in what follows from the rest: the handler, its handoff, the
// address and the service's name. It does not touch what was given, and it
// gives no default to numbers: 0 there is what a person wrote.
func (c *Config) Complete() {
	for i := range c.Services {
		c.Services[i].complete()
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
	if len(s.Listen) == 0 {
		address, err := ParseAddress(DefaultListen)
		if err != nil {
			panic(err)
		}
		s.Listen = []Address{address}
	}
	if s.Name == "" {
		s.Name = s.Handler
		if len(s.Program) > 0 {
			s.Name = filepath.Base(s.Program[0])
		}
	}
}
