package service

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/process"
)

// A SpecState is a Spec in the state that a master hands to the next one. The order of
// IDs is that in which the section names the users and groups of peers.
type SpecState struct {
	Service   string   `json:"service"`
	Section   string   `json:"section"`            // of the configuration, in TOML (config.Service.TOML)
	InForce   bool     `json:"in_force,omitempty"` // for its service
	Once      bool     `json:"once,omitempty"`     // its gate admits one connection
	IDs       []uint32 `json:"ids,omitempty"`
	SocketUID int      `json:"socket_uid"` // of unix sockets; -1: the master's
	SocketGID int      `json:"socket_gid"`
	Found     string   `json:"found"` // a digest of what the machine made of the section
}

// SpecRecorder numbers the Specs of an export, each once. The zero SpecRecorder has none.
// To record a Spec takes a moment, and Specs do not change: one recorder may serve for
// several exports.
type SpecRecorder struct {
	states  []SpecState
	numbers map[*Spec]int
}

// States returns the Specs by their numbers.
func (r *SpecRecorder) States() []SpecState {
	for spec, number := range r.numbers {
		r.states[number].InForce = spec.service.Spec().source() == spec
	}
	return r.states
}

// Number returns the number by which a state refers to a Spec.
func (r *SpecRecorder) Number(spec *Spec) int {
	number, known := r.numbers[spec]
	if known {
		return number
	}
	if r.numbers == nil {
		r.numbers = map[*Spec]int{}
	}
	number = len(r.states)
	r.numbers[spec] = number
	r.states = append(r.states, spec.export())
	return number
}

// Record numbers the Spec in force of a service.
func (r *SpecRecorder) Record(s *Service) { r.Number(s.Spec().source()) }

func (s *Spec) export() SpecState {
	return SpecState{
		Service:   s.Name,
		Section:   s.TOML(),
		Once:      s.once,
		IDs:       s.ids,
		SocketUID: s.Options.UID,
		SocketGID: s.Options.GID,
		Found:     s.found(),
	}
}

// source returns the Spec, or the one that InBox was called of.
func (s *Spec) source() *Spec {
	for s.original != nil {
		s = s.original
	}
	return s
}

// found returns a digest of what the machine made of the names in the section: programs,
// users, variables, and what boxes lack. The version of the master is no part of it.
func (s *Spec) found() string {
	if s.former != "" {
		return s.former
	}
	h := sha256.New()
	write := func(c *process.Command) {
		fmt.Fprintf(h, "%q %q %q %t %q %d", c.Path, c.Args, c.Program, c.Handler, c.Directory, c.TimerSlack)
		if id := c.Credential; id != nil {
			fmt.Fprintf(h, " user %d %d %d", id.Uid, id.Gid, id.Groups)
		}
		if c.OOMScoreAdjust != nil {
			fmt.Fprintf(h, " oom %d", *c.OOMScoreAdjust)
		}
		io.WriteString(h, "\n")
	}
	write(&s.worker)
	write(&s.spare)
	for _, r := range s.rules {
		if r.command != nil {
			write(r.command)
		}
		fmt.Fprintf(h, "rule %q\n", withoutVersion(r.environment))
	}
	fmt.Fprintf(h, "%q\n", withoutVersion(s.environment))
	for _, m := range s.missing {
		fmt.Fprintf(h, "without %q\n", m.Key)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func withoutVersion(environment []string) []string {
	return slices.DeleteFunc(slices.Clone(environment), func(variable string) bool {
		return strings.HasPrefix(variable, ipc.EnvVersion+"=")
	})
}

// RestoredSpecs are the Specs of a state by their numbers.
type RestoredSpecs struct {
	specs  []*Spec
	states []SpecState
}

// RestoreSpecs makes the Specs of a state again. compiled are those of the configuration
// that is going to be put in force. One that was in force and means the same as the
// compiled one of its service is that one. Every other is a former one: it has what its
// connections and workers need, and starts nothing (Spec.CheckCurrent). Nothing is looked
// for on the machine.
func RestoreSpecs(states []SpecState, compiled []*Spec) (*RestoredSpecs, error) {
	byName := make(map[string]*Spec, len(compiled))
	for _, spec := range compiled {
		byName[spec.Name] = spec
	}
	r := &RestoredSpecs{states: states, specs: make([]*Spec, len(states))}
	inForce := map[string]bool{}
	for i := range states {
		state := &states[i]
		if state.InForce {
			if inForce[state.Service] {
				return nil, fmt.Errorf("service %s: two configurations are in force", state.Service)
			}
			inForce[state.Service] = true
		}
		spec, err := state.restore(byName[state.Service])
		if err != nil {
			return nil, err
		}
		r.specs[i] = spec
	}
	return r, nil
}

// restore returns the compiled Spec if the state is about one that was in force and means
// the same, otherwise a former one. compiled may be nil.
func (s *SpecState) restore(compiled *Spec) (*Spec, error) {
	if compiled != nil && !s.foundAs(compiled) {
		compiled = nil
	}
	if compiled != nil && s.Section == compiled.TOML() {
		return compiled, nil // as nearly always: to parse it takes longer
	}
	section, err := config.ParseService(s.Service, s.Section)
	if err != nil {
		return nil, err
	}
	if compiled != nil && section.Equal(&compiled.Service) {
		return compiled, nil
	}
	spec, err := s.makeFormer(section)
	if err != nil {
		return nil, fmt.Errorf("service %s: %w", s.Service, err)
	}
	return spec, nil
}

// foundAs reports whether the state is about a Spec that was in force, and the machine made
// of its section what it made of that of the compiled one.
func (s *SpecState) foundAs(compiled *Spec) bool {
	return s.InForce && s.Found == compiled.found() && s.Once == compiled.once && slices.Equal(s.IDs, compiled.ids) &&
		s.SocketUID == compiled.Options.UID && s.SocketGID == compiled.Options.GID
}

// makeFormer makes a Spec without looking for anything on the machine.
func (s *SpecState) makeFormer(section config.Service) (*Spec, error) {
	if s.Found == "" {
		return nil, errors.New("it is not known what its section stood for")
	}
	ids := lookups{known: s.IDs, carried: true}
	spec := &Spec{Service: section, once: s.Once, former: s.Found, Options: socketOptions(&section, s.SocketUID, s.SocketGID)}
	spec.worker.Control = section.Handoff != config.HandoffStdio
	spec.spare.Control = true
	var err error
	if spec.proxies, err = ids.peers(section.ProxyProtocol); err != nil {
		return nil, fmt.Errorf("proxy-protocol %w", err)
	}
	for i := range section.Rules {
		spec.rules = append(spec.rules, &Rule{Rule: section.Rules[i]})
	}
	if spec.policy, err = ids.policy(&section, spec.rules, s.Once); err != nil {
		return nil, err
	}
	if len(ids.known) > 0 {
		return nil, fmt.Errorf("%d users and groups too many are known", len(ids.known))
	}
	spec.ids = ids.found
	return spec, nil
}

// Spec returns the Spec of a number: one of the configuration that is going to be put in
// force if that means the same, otherwise a former one. Its service must be there
// (RestoreService).
func (r *RestoredSpecs) Spec(number int) (*Spec, error) {
	if number < 0 || number >= len(r.specs) {
		return nil, fmt.Errorf("there is no configuration %d of a service", number)
	}
	spec := r.specs[number]
	if spec.service == nil {
		return nil, fmt.Errorf("service %s is not there", spec.Name)
	}
	return spec, nil
}

// inForce returns the Spec in force of a service that is about to be made again.
func (r *RestoredSpecs) inForce(service string, number int) (*Spec, error) {
	switch {
	case number < 0 || number >= len(r.specs):
		return nil, fmt.Errorf("there is no configuration %d of a service", number)
	case r.states[number].Service != service || !r.states[number].InForce:
		return nil, fmt.Errorf("configuration %d, of service %s, is not the one in force", number, r.states[number].Service)
	case r.specs[number].service != nil:
		return nil, errors.New("it is there twice")
	}
	return r.specs[number], nil
}

// setOwner makes a service the one that its Specs belong to.
func (r *RestoredSpecs) setOwner(service *Service) {
	for _, spec := range r.specs {
		if spec.Name == service.Name {
			service.SetOwner(spec)
		}
	}
}

// errFormer is why a former Spec starts nothing.
var errFormer = errors.New("the service has changed since, or its programs have")

// Current returns the connection, which no worker has, or if its Spec is a former one, the
// same under the Spec in force. That one has what the connection owned.
func (c *Connection) Current() *Connection {
	if c.Spec.CheckCurrent() == nil {
		return c
	}
	spec := c.Owner().Spec()
	rule, _ := spec.policy.Rules.Decide(c.Slot.Peer())
	again := newConnection(spec, c.conn, effectOf(rule), c.ID, c.redact)
	again.Slot, again.live, again.Accepted = c.Slot, c.live, c.Accepted
	again.File, again.acceptLogged = c.File, c.acceptLogged
	return again
}

// CheckCurrent returns an error if the Spec is a former one, of which the master has no
// more than its connections and workers need: no command and no environment. Whoever is
// about to start something by a Spec asks before.
func (s *Spec) CheckCurrent() error {
	if s.former != "" {
		return errFormer
	}
	return nil
}
