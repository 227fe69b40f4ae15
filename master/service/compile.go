package service

import (
	"fmt"
	"math"
	"os"
	"syscall"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/process"
)

// Compile makes a Spec of each service of a configuration, in its order. It
// finds the programs, looks up users and groups, and resolves host names, so it
// may take as long as a name server and a file system do. It must not run on
// the master's loop. Nothing is bound or started.
//
// null is /dev/null, which workers get as their standard input and, if the
// service wants none, in place of stderr. The caller keeps it open.
//
// An error names the service, and what of it cannot be had.
func Compile(cfg *config.Config, null *os.File) ([]*Spec, error) {
	commands, err := cfg.Commands()
	if err != nil {
		return nil, err
	}
	specs := make([]*Spec, len(cfg.Services))
	for i, configured := range cfg.Services {
		if specs[i], err = compile(cfg, configured, commands[i], null); err != nil {
			return nil, fmt.Errorf("service %s: %w", configured.Name, err)
		}
	}
	for _, s := range specs {
		if s.Addresses, err = resolve(s.Listen); err != nil {
			return nil, fmt.Errorf("bind service %s: %w", s.Name, err)
		}
	}
	return specs, nil
}

func compile(cfg *config.Config, configured config.Service, commands config.Commands, null *os.File) (*Spec, error) {
	if cfg.Once {
		// A single connection has no use for spares, and a debugger has none
		// for workers that it did not ask for.
		configured.MinSpares, configured.MaxSpares, configured.ConnectionsPerWorker = 0, 0, 1
	}
	s := &Spec{Service: configured, environment: baseEnvironment(configured.Name, configured.Env)}
	var ids lookups
	var err error
	if s.proxies, err = ids.peers(configured.ProxyProtocol); err != nil {
		return nil, fmt.Errorf("proxy-protocol %w", err)
	}
	if s.Options, err = socketOptions(&configured); err != nil {
		return nil, err
	}
	command, err := baseCommand(&configured, null)
	if err != nil {
		return nil, err
	}
	withProgram := func(c config.Command) process.Command {
		command := command
		command.Path, command.Args = c.Path, c.Args
		return command
	}
	s.worker, s.spare = withProgram(commands.Worker), withProgram(commands.Spare)
	s.spare.Control = true
	for i := range configured.Rules {
		r := &Rule{Rule: configured.Rules[i]}
		if len(r.Program) > 0 {
			own, err := cfg.RuleCommand(&configured, &configured.Rules[i])
			if err != nil {
				return nil, fmt.Errorf("rule %d: %w", i+1, err)
			}
			c := withProgram(own)
			r.command = &c
		}
		if len(r.Env) > 0 {
			r.environment = baseEnvironment(configured.Name, configured.Env, r.Env)
		}
		s.rules = append(s.rules, r)
	}
	if s.policy, err = ids.policy(&configured, s.rules, cfg.Once); err != nil {
		return nil, err
	}
	s.ids = ids.found
	return s, nil
}

// baseCommand returns how a service's programs are started, all but their names.
func baseCommand(s *config.Service, null *os.File) (process.Command, error) {
	c := process.Command{
		Control:   s.Handoff != config.HandoffStdio,
		Null:      null,
		Stderr:    os.Stderr,
		Directory: s.Directory,
	}
	if s.Stderr != config.StderrInherit {
		c.Stderr = null // with StderrLog each worker gets a pipe of its own
	}
	id, err := s.Identity(config.Identity{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())})
	if err != nil {
		return c, fmt.Errorf("user: %w", err)
	}
	if id != nil {
		c.Credential = &syscall.Credential{Uid: id.UID, Gid: id.GID, Groups: id.Groups}
	}
	if s.Umask.Set {
		if c.Umask, err = process.NewUmask(s.Umask.Bits); err != nil {
			return c, err
		}
	}
	return c, nil
}

// socketOptions returns the options of a service's listeners.
func socketOptions(s *config.Service) (listen.Options, error) {
	o := listen.Options{
		NoDelay:      s.NoDelay,
		Keepalive:    s.Keepalive,
		DeferAccept:  s.DeferAccept,
		Backlog:      s.Backlog,
		ReusePort:    s.ReusePort,
		FreeBind:     s.FreeBind,
		BindToDevice: s.BindToDevice,
		V6Only:       s.V6Only,
		Mode:         -1,
	}
	if s.SocketMode.Set {
		o.Mode = int(s.SocketMode.Bits & math.MaxInt16)
	}
	var err error
	if o.UID, o.GID, err = s.SocketIdentity(); err != nil {
		return o, fmt.Errorf("socket owner: %w", err)
	}
	return o, nil
}

// resolve looks up the host names among addresses.
func resolve(addresses []config.Address) ([]Address, error) {
	resolved := make([]Address, len(addresses))
	for i, a := range addresses {
		found, err := listen.Resolve(a)
		if err != nil {
			return nil, fmt.Errorf("listen %v: %w", a, err)
		}
		resolved[i] = Address{Address: a, Resolved: found}
	}
	return resolved, nil
}

// lookups resolves the users and groups that lists of peers name, and records
// the ids that it found.
type lookups struct{ found []uint32 }

// peers returns a set of peers, nil for none.
func (l *lookups) peers(list []config.PeerSet) (*admit.Peers[struct{}], error) {
	if len(list) == 0 {
		return nil, nil
	}
	var peers admit.Peers[struct{}]
	for _, p := range list {
		m, err := l.match(p)
		if err != nil {
			return nil, err
		}
		peers.Put(m, struct{}{})
	}
	return &peers, nil
}

func (l *lookups) match(p config.PeerSet) (admit.Match, error) {
	if p.Prefix.IsValid() {
		return admit.Match{Prefix: p.Prefix}, nil
	}
	if p.Unix == config.UnixAll {
		return admit.Match{}, nil
	}
	id, err := p.ID()
	if err != nil {
		return admit.Match{}, fmt.Errorf("%v: %w", p, err)
	}
	l.found = append(l.found, id)
	if p.Unix == config.UnixGID {
		return admit.Match{GID: &id}, nil
	}
	return admit.Match{UID: &id}, nil
}
