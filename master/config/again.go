package config

import (
	"reflect"
	"slices"

	"github.com/preforkd/preforkd/master/oomscore"
)

// A Base is a configuration that was loaded before and is in force. What the file
// says as it did then need not be decoded, validated and compiled again.
type Base struct {
	Config *Config // in force; its Services do not count
	// Service returns a service of it by its name, or nil.
	Service func(name string) *Service
}

// A setting is what services depend on beside their own section of the file,
// where nothing in the service says that it does.
type setting struct {
	workerBinary string // as it is written
	worker       string // where it is; "" if there is none
	mostBytes    int    // maxTotal
	oomScore     int    // of the master
	inPath       map[string]string
}

// settle finds out what services depend on. The master's keys must be there.
func (c *Config) settle() {
	c.known = newLookups()
	c.setting = setting{workerBinary: c.WorkerBinary, mostBytes: maxTotal()}
	c.setting.worker, _ = c.findWorker(c.onMachine())
	c.setting.oomScore, _ = oomscore.Own()
}

// onMachine returns a finder of files on this machine.
func (c *Config) onMachine() *finder { return &finder{known: c.known} }

// InForce returns what the master keeps of its configuration, and a Base needs:
// all but the services.
func (c Config) InForce() Config {
	if c.known != nil {
		c.setting.inPath = c.known.inPath()
	}
	c.Services, c.known = nil, nil
	return c
}

// take returns the service of a section as it is in the Base, or false if it may
// mean something else by now.
func (c *Config) take(base *Base, of *section, d digest) (s Service, ok bool) {
	if base == nil || c.Once || len(c.Wrap) > 0 {
		return s, false
	}
	before := base.Service(of.service)
	if before == nil || !before.fromTextAlone || before.digest != d {
		return s, false
	}
	if was, is := &base.Config.setting, &c.setting; was.workerBinary != is.workerBinary || was.worker != is.worker ||
		was.mostBytes != is.mostBytes || was.oomScore != is.oomScore {
		return s, false
	}
	if !c.findsSame(base, before.Program) {
		return s, false
	}
	for i := range before.Rules {
		if !c.findsSame(base, before.Rules[i].Program) {
			return s, false
		}
	}
	s = *before
	s.moveTo(of.line)
	s.kept = true
	return s, true
}

// findsSame reports whether a program is there and where the Base has it.
func (c *Config) findsSame(base *Base, argv []string) bool {
	if len(argv) == 0 {
		return true
	}
	path, err := c.known.program(argv[0])
	before, inPath := base.Config.setting.inPath[argv[0]]
	return err == nil && (!inPath || path == before)
}

// Kept reports whether the service means what the one of its name in the Base of
// the load means: its section says the same, and so does the machine.
func (s *Service) Kept() bool { return s.kept }

// moveTo says at which line of the file the section of the service begins.
func (s *Service) moveTo(line int) {
	if s.at.first == line {
		return
	}
	s.at, s.boxAt = s.at.moved(line), s.boxAt.moved(line)
	s.Rules = slices.Clone(s.Rules)
	for i := range s.Rules {
		s.Rules[i].at = s.Rules[i].at.moved(line)
	}
}

// findFromTextAlone finds out whether nothing outside of the file goes into the
// service but its programs and the setting: no account, no name of a host, no
// directory, no box.
func (s *Service) findFromTextAlone() {
	named := func(p PeerSet) bool { return p.Account != "" }
	s.fromTextAlone = s.User == "" && s.Group == "" && len(s.SupplementaryGroups) == 0 && s.SocketOwner == "" && s.SocketGroup == "" &&
		s.Directory == "" && !s.OOMScoreAdjust.Set &&
		!slices.ContainsFunc(s.Listen, func(a Address) bool { return a.Host != "" || a.IP.Zone() != "" }) &&
		!slices.ContainsFunc(slices.Concat(s.Allow, s.Deny, s.PenaltyExempt, s.ProxyProtocol), named) &&
		!slices.ContainsFunc(s.Rules, func(r Rule) bool { return slices.ContainsFunc(r.From, named) }) &&
		s.Box == &noBox
}

// shareBox gives services that ask for no box the same one.
func (s *Service) shareBox() {
	if reflect.DeepEqual(*s.Box, noBox) {
		s.Box = &noBox
	}
}

// noBox is the box of a service that asks for none.
var noBox = PresetBox(BoxNone)
