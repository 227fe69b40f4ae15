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
	boxes        *defaultBoxes
	inPath       map[string]string
	accounts     map[accountName]account
}

// settle finds out what services depend on. The master's keys must be there.
func (c *Config) settle() {
	c.known = newLookups()
	c.setting = setting{workerBinary: c.WorkerBinary, mostBytes: maxTotal(), boxes: c.defaultBoxes()}
	c.setting.worker, _ = c.findWorker(c.onMachine())
	c.setting.oomScore, _ = oomscore.Own()
}

// onMachine returns a finder of files on this machine.
func (c *Config) onMachine() *finder { return &finder{known: c.known} }

// InForce returns what the master keeps of its configuration, and a Base needs:
// all but the services.
func (c Config) InForce() Config {
	if c.known != nil {
		c.setting.inPath, c.setting.accounts = c.known.inPath(), c.known.accounts
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
		was.mostBytes != is.mostBytes || was.oomScore != is.oomScore || was.boxes != is.boxes {
		return s, false
	}
	if !c.findsSame(base, before) {
		return s, false
	}
	s = *before
	s.moveTo(of.line)
	s.kept, s.inForce = true, s.Box
	if c.defaultBoxes().has(s.Box) {
		s.Box = c.defaultBoxes().of(&s) // and settleHandlerBoxes decides
	}
	return s, true
}

// takeBoxes has the load use the default boxes of the Base, if they are the same.
func (c *Config) takeBoxes(base *Base) {
	if base != nil && base.Config.setting.boxes != nil && reflect.DeepEqual(base.Config.setting.boxes, c.defaultBoxes()) {
		c.setting.boxes = base.Config.setting.boxes
	}
}

// findsSame reports whether all that a service names is on this machine what it was
// for the Base.
func (c *Config) findsSame(base *Base, s *Service) bool {
	was := &base.Config.setting
	for _, n := range s.accounts() {
		if c.known.account(n) != was.accounts[n] {
			return false
		}
	}
	if s.Directory != "" && !c.known.isDirectory(s.Directory) {
		return false
	}
	return c.findsProgram(was, s.Program) && !slices.ContainsFunc(s.Rules, func(r Rule) bool { return !c.findsProgram(was, r.Program) })
}

// findsProgram reports whether a program is there and where it was.
func (c *Config) findsProgram(was *setting, argv []string) bool {
	if len(argv) == 0 {
		return true
	}
	path, err := c.known.program(argv[0])
	before, inPath := was.inPath[argv[0]]
	return err == nil && (!inPath || path == before)
}

// accounts returns the users and groups that the service names.
func (s *Service) accounts() (names []accountName) {
	add := func(group bool, list ...string) {
		for _, name := range list {
			if name != "" {
				names = append(names, accountName{group, name})
			}
		}
	}
	add(false, s.User, s.SocketOwner)
	add(true, s.Group, s.SocketGroup)
	add(true, s.SupplementaryGroups...)
	peers := func(list []PeerSet) {
		for _, p := range list {
			add(p.Unix == UnixGID, p.Account)
		}
	}
	for _, list := range [][]PeerSet{s.Allow, s.Deny, s.PenaltyExempt, s.ProxyProtocol} {
		peers(list)
	}
	for i := range s.Rules {
		peers(s.Rules[i].From)
	}
	return names
}

// Kept reports whether the service means what the one of its name in the Base of
// the load means: its section says the same, and so does the machine.
func (s *Service) Kept() bool { return s.kept }

// Renew has the service be one that was not kept.
func (s *Service) Renew() { s.kept = false }

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
// service but what findsSame looks at, and the setting: no name of a host and no
// box that somebody has asked for.
func (s *Service) findFromTextAlone(byDefault *defaultBoxes) {
	s.fromTextAlone = !s.OOMScoreAdjust.Set && (s.Box == &noBox || byDefault.has(s.Box)) &&
		!slices.ContainsFunc(s.Listen, func(a Address) bool { return a.Host != "" || a.IP.Zone() != "" })
}

// shareBox gives services that ask for no box the same one.
func (s *Service) shareBox() {
	if reflect.DeepEqual(*s.Box, noBox) {
		s.Box = &noBox
	}
}

// noBox is the box of a service that asks for none.
var noBox = PresetBox(BoxNone)

// Equal reports whether two services of the same name are configured the same,
// wherever that stands. To print both takes long, so it is the last resort: TOML
// does not tell an empty list from none.
func (s *Service) Equal(other *Service) bool {
	a, b := s.withoutPlaces(), other.withoutPlaces()
	return reflect.DeepEqual(&a, &b) || s.TOML() == other.TOML()
}

// withoutPlaces returns the service without what a load notes about it.
func (s *Service) withoutPlaces() Service {
	t := *s
	t.at, t.boxAt, t.boxRequire = positions{}, positions{}, nil
	t.digest, t.fromTextAlone, t.kept, t.inForce = digest{}, false, false, nil
	t.Rules = slices.Clone(t.Rules)
	for i := range t.Rules {
		t.Rules[i].at = positions{}
	}
	return t
}
