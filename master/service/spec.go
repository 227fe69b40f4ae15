package service

import (
	"reflect"
	"slices"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/box"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/process"
)

// A Spec is one service of one configuration, ready for use. A reload that
// changes the service makes another Spec; workers, connections and spares stay
// with the one that they began with.
//
// It is immutable once it belongs to a Service, so any goroutine may read it.
type Spec struct {
	config.Service

	// Addresses are those of Listen, in its order, with host names resolved.
	Addresses []Address
	// Options are those of the listeners.
	Options listen.Options

	worker      process.Command     // started for a connection
	spare       process.Command     // started ahead of its connection
	environment []string            // that every worker of the service sees
	missing     []*box.MissingError // what keys of the box lack that may be missing
	rules       []*Rule             // in the order of the configuration
	policy      admit.Policy
	proxies     *admit.Peers[struct{}] // peers whose PROXY header is believed
	ids         []uint32               // user and group ids that names stand for, in the order of the look-ups
	once        bool                   // the gate admits one connection

	// former is SpecState.Found of one that an earlier master has compiled, and "" of
	// every other. A former Spec starts nothing, and is equal to itself only.
	former string

	service *Service

	// original is the Spec of which this one is a copy with another box, or nil. commands
	// are those of rules with a program of their own, in that box.
	original *Spec
	commands map[*Rule]*process.Command
}

// An Address is where a service listens: as it is configured, and what that
// stood for when the Spec was compiled, one address for each that a host name
// resolves to.
type Address struct {
	config.Address
	Resolved []config.Address
}

// A Rule is what an address rule changes for its connections beyond their
// limits. It is the Effect of an admit.Rule.
type Rule struct {
	config.Rule
	command     *process.Command // nil: the service's
	environment []string         // in place of the service's; nil: the service's
}

// Owner returns the service that the Spec belongs to.
func (s *Spec) Owner() *Service { return s.service }

// Renew returns another Spec of the same service that means the same.
func (s *Spec) Renew() *Spec {
	again := *s
	return &again
}

// InBox returns a Spec of the same service whose workers run in another box. A
// configuration that s is Equal to is no change of it.
func (s *Spec) InBox(b process.Box) *Spec {
	again := s.Renew()
	again.original, again.commands = s, map[*Rule]*process.Command{}
	again.worker.Box, again.spare.Box = b, b
	for _, r := range s.rules {
		if r.command != nil {
			c := *r.command
			c.Box = b
			again.commands[r] = &c
		}
	}
	return again
}

// IsCopy reports whether the Spec was made by InBox.
func (s *Spec) IsCopy() bool { return s.original != nil }

// Original returns a Spec that means the same as the one that InBox was called of, or nil.
func (s *Spec) Original() *Spec {
	if s.original == nil {
		return nil
	}
	return s.original.Renew()
}

// commandOf returns what is started for a connection of a rule, nil for none.
func (s *Spec) commandOf(r *Rule) *process.Command {
	switch {
	case r == nil || r.command == nil:
		return &s.worker
	case s.commands[r] != nil:
		return s.commands[r]
	}
	return r.command
}

// Policy returns what the service's gate decides by.
func (s *Spec) Policy() admit.Policy { return s.policy }

// BelievesProxy reports whether a peer is one whose PROXY header is believed.
func (s *Spec) BelievesProxy(p admit.Peer) bool {
	_, believed := s.proxies.Lookup(p)
	return believed
}

// SpareCommand returns what a spare is started as. Its Path is empty for a
// program where there is no worker binary that could wait in its place.
func (s *Spec) SpareCommand() *process.Command { return &s.spare }

// SpareEnvironment returns what a worker sees that has no connection yet.
func (s *Spec) SpareEnvironment() []string { return s.environment }

// Programs returns the files that workers of the service are started as.
func (s *Spec) Programs() []string {
	programs := []string{s.worker.Path, s.spare.Path}
	for _, r := range s.rules {
		if r.command != nil {
			programs = append(programs, r.command.Path)
		}
	}
	return programs
}

// ProcessBox returns what workers of the service run in, or nil.
func (s *Spec) ProcessBox() process.Box { return s.worker.Box }

// ProcessBoxes returns the box of the Spec, and that of the one that InBox was called of.
func (s *Spec) ProcessBoxes() (boxes []process.Box) {
	for ; s != nil; s = s.original {
		if s.worker.Box != nil {
			boxes = append(boxes, s.worker.Box)
		}
	}
	return boxes
}

// MissingFromBox returns what keys of the box lack on this machine that may be missing.
// The box is without them.
func (s *Spec) MissingFromBox() []*box.MissingError { return s.missing }

// ExecsProgram reports whether a spare of the service executes a program that
// is not built on the SDK once it has its connection.
func (s *Spec) ExecsProgram() bool { return s.Handoff != config.HandoffWorker }

// ReadyOptional reports whether workers of the service need not say that they
// are ready: a program takes its connection from fd 3 without a word, if it
// likes, as long as it is no spare.
func (s *Spec) ReadyOptional() bool {
	return s.Handler == "" && s.Handoff == config.HandoffWorker && s.MaxSpares == 0
}

// MayRefuse reports whether the service may refuse anybody.
func (s *Spec) MayRefuse() bool {
	p := &s.policy
	return !p.Wait || p.Rate.IsLimit() || p.Limits != (admit.Limits{}) || p.Drop != (admit.Drop{}) || p.Penalties.First > 0 ||
		len(s.Allow)+len(s.Deny)+len(s.Rules)+len(s.ProxyProtocol) > 0
}

// Equal reports whether another Spec of the same name means the same. What was
// compiled is compared, not only the text: an account that the text names may
// have another number by now. Resolved addresses do not count, because the
// listeners of an address stay what they are.
func (s *Spec) Equal(other *Spec) bool {
	if s == other {
		return true
	}
	if s.original != nil {
		return s.original.Equal(other)
	}
	if s.former != "" || other.former != "" {
		return false
	}
	return s.Service.Equal(&other.Service) && s.Options == other.Options && slices.Equal(s.ids, other.ids) &&
		equalCommands(s.worker, other.worker) && equalCommands(s.spare, other.spare) &&
		slices.Equal(s.environment, other.environment) && slices.EqualFunc(s.rules, other.rules, (*Rule).equal)
}

// equalCommands reports whether two commands start the same. Equal boxes are one.
func equalCommands(a, b process.Command) bool {
	if a.Box != b.Box {
		return false
	}
	a.Box, b.Box = nil, nil
	return reflect.DeepEqual(a, b)
}

func (r *Rule) equal(other *Rule) bool {
	if r.command == nil || other.command == nil {
		return r.command == other.command && slices.Equal(r.environment, other.environment)
	}
	return equalCommands(*r.command, *other.command) && slices.Equal(r.environment, other.environment)
}
