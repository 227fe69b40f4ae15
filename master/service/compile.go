package service

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"syscall"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/box"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/oomscore"
	"github.com/preforkd/preforkd/master/process"
)

// Files are what workers inherit beside their connection.
type Files struct {
	Null   *os.File // /dev/null, their standard input
	Stderr Stderr
	Boxes  Boxes // nil: no service has a box
	// Binaries are the worker binaries that belong to the master. Nil: workers are started
	// by the path.
	Binaries *process.Binaries
}

// Boxes returns what workers run in.
type Boxes interface {
	// Fit returns the box that a service of a name asks for, nil for none, and what
	// this machine lacks for keys that may be missing, which the box is without. It
	// makes and tries it. handler is the path of the worker binary if that serves.
	Fit(service string, b *config.Box, handler string) (process.Box, []*box.MissingError, error)
}

// A Stderr returns the files that lead where fd 2 of workers is to lead.
type Stderr interface {
	Inherit() (*os.File, error) // to the master's stderr
	Discard() (*os.File, error) // nowhere
}

// stderr returns fd 2 for a service's workers.
func (f *Files) stderr(s config.Stderr) (*os.File, error) {
	switch s {
	case config.StderrInherit:
		return f.Stderr.Inherit()
	case config.StderrNull:
		return f.Stderr.Discard()
	}
	return f.Null, nil // each worker gets a pipe of its own
}

// Compile makes a Spec of each service of a configuration, in its order. It
// finds the programs, looks up users and groups, and resolves host names, so it
// may take as long as a name server and a file system do. It must not run on
// the master's loop. Nothing is bound or started.
//
// Files are the descriptors that workers inherit. The caller keeps them open.
//
// before returns the Specs in force by their names, and is nil without any. Those of
// services that the load of cfg has kept (config.Service.Kept) are taken from there.
//
// An error names the service, and what of it cannot be had. One of the type
// *box.LackError names all services whose boxes lack something.
func Compile(cfg *config.Config, files Files, before func(name string) *Spec) ([]*Spec, error) {
	renewUnfit(cfg, files.Boxes, before)
	commands, err := cfg.Commands()
	if err != nil {
		return nil, err
	}
	specs := make([]*Spec, len(cfg.Services))
	var lacking box.LackError
	common := texts{}
	for i := range cfg.Services {
		configured := &cfg.Services[i]
		if configured.Kept() {
			specs[i] = before(configured.Name)
			continue
		}
		specs[i], err = compile(cfg, *configured, commands[i], files, common)
		if lacks, ok := errors.AsType[box.Lacks](err); ok {
			lacking.Add(configured.Name, lacks) // of all services: it may take a new unit to mend it
		} else if err != nil {
			return nil, fmt.Errorf("service %s: %w", configured.Name, err)
		}
	}
	if !lacking.IsEmpty() {
		return nil, &lacking
	}
	for i, s := range specs {
		if cfg.Services[i].Kept() {
			continue
		}
		if s.Addresses, err = resolve(s.Listen); err != nil {
			return nil, fmt.Errorf("bind service %s: %w", s.Name, err)
		}
	}
	// Two names, or a name and an address, may stand for the same address.
	if err := cfg.CheckResolved(func(service, nth int, a config.Address) []config.Address {
		if service < 0 {
			return listen.ResolveLocally(a)
		}
		return specs[service].Addresses[nth].Resolved
	}); err != nil {
		return nil, err
	}
	return specs, nil
}

func compile(cfg *config.Config, configured config.Service, commands config.Commands, files Files, common texts) (*Spec, error) {
	if cfg.Once {
		// A single connection has no use for spares, and a debugger has none
		// for workers that it did not ask for.
		configured.MinSpares, configured.MaxSpares, configured.ConnectionsPerWorker = 0, 0, 1
	}
	s := &Spec{Service: configured, once: cfg.Once, environment: common.environment(configured.Name, configured.Environment())}
	var ids lookups
	var err error
	if s.proxies, err = ids.peers(configured.ProxyProtocol); err != nil {
		return nil, fmt.Errorf("proxy-protocol %w", err)
	}
	uid, gid, err := configured.SocketIdentity()
	if err != nil {
		return nil, fmt.Errorf("socket owner: %w", err)
	}
	s.Options = socketOptions(&configured, uid, gid)
	command, err := baseCommand(&configured, files)
	if err != nil {
		return nil, err
	}
	handler := ""
	if cfg.ServesHandler(&configured) {
		handler = commands.Worker.Path
	}
	var confines bool
	if command.Box, confines, err = s.fitBox(handler, files.Boxes); err != nil {
		return nil, fmt.Errorf("box: %w", err)
	}
	withProgram := func(c config.Command) (process.Command, error) {
		command := command
		command.Path, command.Args, command.Program = c.Path, c.Args, c.Program
		if c.Worker && files.Binaries != nil {
			if command.File, err = files.Binaries.Open(c.Path); err != nil {
				return command, fmt.Errorf("worker binary: %w", err)
			}
		}
		return command, nil
	}
	if s.worker, err = withProgram(commands.Worker); err != nil {
		return nil, err
	}
	if s.spare, err = withProgram(commands.Spare); err != nil {
		return nil, err
	}
	s.spare.Control = true
	if handler != "" {
		s.worker.Handler, s.spare.Handler = true, true
		if confines {
			s.worker.Args = append(slices.Clone(s.worker.Args), ipc.ArgumentBoxed)
			s.spare.Args = append(slices.Clone(s.spare.Args), ipc.ArgumentBoxed)
		}
		if len(configured.Box.Implied) > 0 {
			// It opens no file, and a default must not fail for a directory that its user
			// does not see.
			s.worker.Directory, s.spare.Directory = "", ""
		}
	}
	for i := range configured.Rules {
		r := &Rule{Rule: configured.Rules[i]}
		if len(r.Program) > 0 {
			own, err := cfg.RuleCommand(&configured, &configured.Rules[i])
			if err != nil {
				return nil, fmt.Errorf("rule %d: %w", i+1, err)
			}
			c, err := withProgram(own)
			if err != nil {
				return nil, fmt.Errorf("rule %d: %w", i+1, err)
			}
			r.command = &c
		}
		if len(r.Env) > 0 {
			r.environment = common.environment(configured.Name, configured.Environment(), r.Env)
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
func baseCommand(s *config.Service, files Files) (c process.Command, err error) {
	c = process.Command{
		Control:   s.Handoff != config.HandoffStdio,
		Null:      files.Null,
		Directory: s.Directory,

		TimerSlack: s.TimerSlack,
	}
	if c.Stderr, err = files.stderr(s.Stderr); err != nil {
		return c, err
	}
	id, err := s.Identity(config.Identity{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())})
	if err != nil {
		return c, fmt.Errorf("user: %w", err)
	}
	if id != nil {
		c.Credential = &syscall.Credential{Uid: id.UID, Gid: id.GID, Groups: id.Groups}
	}
	if own, ok := oomscore.Own(); ok {
		c.OOMScoreAdjust = oomScoreAdjust(own, s.OOMScoreAdjust)
	}
	if s.Umask.Set {
		c.Umask = &s.Umask.Bits
	}
	return c, nil
}

// oomScoreAdjust returns the adjustment that a service's workers are given, nil if
// that is the one that they inherit: own, the master's. A negative one of the
// master is for the master alone.
func oomScoreAdjust(own int, configured config.OptionalInt) *int {
	adjust := configured.Value // 0 if it is not set
	if adjust == own || !configured.Set && own >= 0 {
		return nil
	}
	return &adjust
}

// socketOptions returns the options of a service's listeners, whose files belong to a user
// and a group; see config.Service.SocketIdentity.
func socketOptions(s *config.Service, uid, gid int) listen.Options {
	o := listen.Options{
		NoDelay:      s.NoDelay,
		Keepalive:    s.Keepalive,
		UserTimeout:  s.UserTimeout,
		DeferAccept:  s.DeferAccept,
		Backlog:      s.Backlog,
		ReusePort:    s.ReusePort,
		FreeBind:     s.FreeBind,
		BindToDevice: s.BindToDevice,
		V6Only:       s.V6Only,
		Mode:         -1,
		UID:          uid,
		GID:          gid,
	}
	if s.SocketMode.Set {
		o.Mode = int(s.SocketMode.Bits & math.MaxInt16)
	}
	return o
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
type lookups struct {
	found []uint32

	// carried says that an earlier master has looked them up: known are their ids, in
	// the order of the look-ups.
	carried bool
	known   []uint32
}

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
	id, err := l.id(p)
	if err != nil {
		return admit.Match{}, fmt.Errorf("%v: %w", p, err)
	}
	l.found = append(l.found, id)
	if p.Unix == config.UnixGID {
		return admit.Match{GID: &id}, nil
	}
	return admit.Match{UID: &id}, nil
}

func (l *lookups) id(p config.PeerSet) (uint32, error) {
	if !l.carried {
		return p.ID()
	}
	if len(l.known) == 0 {
		return 0, errors.New("its number is not known")
	}
	id := l.known[0]
	l.known = l.known[1:]
	return id, nil
}
