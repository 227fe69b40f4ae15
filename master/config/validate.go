package config

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/preforkd/preforkd/ipc"
)

const (
	// maxWord bounds a quit word in bytes. A worker holds that much of a line
	// back while it may still become the word.
	maxWord = 1024
	// maxRefusal bounds refuse-message in bytes. It has to fit into the send
	// buffer of a fresh socket, because nobody waits for room there.
	maxRefusal = 1024
	// maxProbe bounds the times that the kernel takes in seconds
	// (MAX_TCP_KEEPIDLE of linux/net/tcp.h).
	maxProbe = 32767 * time.Second
)

// reservedVariables are those that say something about each connection.
var reservedVariables = []string{
	ipc.EnvProto, ipc.EnvTCPLocalIP, ipc.EnvTCPLocalPort, ipc.EnvTCPRemoteIP, ipc.EnvTCPRemotePort, ipc.EnvTCPConnNum,
	ipc.EnvRemoteAddr, ipc.EnvRemotePort, ipc.EnvIPCRemoteEUID, ipc.EnvIPCRemoteEGID, ipc.EnvIPCRemotePath,
	ipc.EnvService, ipc.EnvConnection, ipc.EnvVersion,
}

// Validate reports everything that is wrong with a completed configuration, as
// Mistakes. It looks for the programs, directories and accounts that the
// configuration names and changes nothing.
func (c *Config) Validate() error {
	var mistakes Mistakes
	c.validate(&mistakes)
	return mistakes.err()
}

func (c *Config) validate(mistakes *Mistakes) {
	for _, d := range []struct {
		key   string
		value time.Duration
	}{{"drain-timeout", c.DrainTimeout}, {"kill-delay", c.KillDelay}} {
		if d.value < 0 {
			mistakes.add(c.at.of(d.key), "%s %v: must not be negative", d.key, d.value)
		}
	}
	if c.Once && len(c.Services) > 1 {
		mistakes.add(c.Services[1].at.of(), "once: there are %d services, and one connection can be of one only", len(c.Services))
	}
	c.validateAddresses(mistakes)
	workerChecked := false
	for i := range c.Services {
		s := &c.Services[i]
		v := validator{s.scope(), s.at, mistakes}
		s.validate(v)
		if s.Handler != "" {
			if workerChecked {
				continue // one mistake, not one for each service
			}
			workerChecked = true
		}
		if _, err := c.commands(s, s.Program); err != nil {
			at := s.at.of("program[0]", "program", "handler")
			if s.Handler != "" && c.at.has("worker-binary") {
				at = c.at.of("worker-binary")
			}
			mistakes.add(at, "%s%v", v.scope, err)
		}
		for j := range s.Rules {
			if r := &s.Rules[j]; len(r.Program) > 0 {
				if _, err := c.commands(s, r.Program); err != nil {
					mistakes.add(r.at.of("program[0]", "program"), "%srule %d: %v", v.scope, j+1, err)
				}
			}
		}
	}
}

// scope is what messages about a service begin with. With flags there is one
// service and no need to say which.
func (s *Service) scope() string {
	if s.at == nil {
		return ""
	}
	return "service." + tomlKey(s.Name) + ": "
}

// A validator reports mistakes in one table.
type validator struct {
	scope    string
	at       positions
	mistakes *Mistakes
}

// bad reports the value of a key.
func (v validator) bad(key string, value any, format string, args ...any) {
	name, _, _ := strings.Cut(key, "[")
	if s, ok := value.(string); ok {
		value = quoted(s)
	}
	v.mistakes.add(v.at.of(key, name), "%s%s %v: %s", v.scope, name, value, fmt.Sprintf(format, args...))
}

// validateAddresses finds addresses that cannot be listened at together.
func (c *Config) validateAddresses(mistakes *Mistakes) {
	type place struct {
		service *Service
		address Address
		at      Position
	}
	var places []place
	for i := range c.Services {
		s := &c.Services[i]
		for j, a := range s.Listen {
			here := place{s, a, s.at.of("listen["+strconv.Itoa(j)+"]", "listen")}
			for _, other := range places {
				if !overlap(a, other.address) || (s.ReusePort && other.service.ReusePort && a != other.address) {
					continue
				}
				first := "service " + other.service.Name
				if other.at.IsValid() {
					first = other.at.String()
				}
				if a == other.address {
					mistakes.add(here.at, "%slisten %v: listed twice, first for %s", s.scope(), a, first)
				} else {
					mistakes.add(here.at, "%slisten %v: is taken by %v, listed for %s", s.scope(), a, other.address, first)
				}
				break
			}
			places = append(places, here)
		}
	}
}

// overlap reports whether two addresses are the same or one of them is every
// address of the other's family. Names are not resolved for that.
func overlap(a, b Address) bool {
	switch {
	case a.IsUnix() || b.IsUnix():
		return a == b
	case a.Port != b.Port || a.Port == 0:
		return false
	case a == b:
		return true
	}
	every := func(a Address) bool { return a.Host == "" && !a.IP.IsValid() }
	covers := func(a, b Address) bool {
		return every(a) || a.IP.IsValid() && a.IP.IsUnspecified() && b.IP.IsValid() && a.IP.Is4() == b.IP.Is4()
	}
	return covers(a, b) || covers(b, a)
}

func (s *Service) validate(v validator) {
	s.validateName(v)
	s.validateHandler(v)
	s.validateProcess(v)
	s.validateSpares(v)
	s.validateLimits(v)
	s.validateSockets(v)
	s.validatePeers(v)
	for i := range s.Rules {
		s.Rules[i].validate(validator{fmt.Sprintf("%srule %d: ", v.scope, i+1), s.Rules[i].at, v.mistakes}, s)
	}
	s.validateRuleSets(v)
}

func (s *Service) validateName(v validator) {
	switch {
	case s.Name == "" || len(s.Name) > 255 || !utf8.ValidString(s.Name):
		v.mistakes.add(v.at.of(), "service %s: the name must have 1 to 255 bytes", quoted(s.Name))
	case strings.ContainsFunc(s.Name, func(r rune) bool { return !unicode.IsPrint(r) }):
		v.mistakes.add(v.at.of(), "service %s: the name must not hold control characters", quoted(s.Name))
	}
}

func (s *Service) validateHandler(v validator) {
	if s.Handler != "" && len(s.Program) > 0 {
		v.bad("handler", s.Handler, "there is a program as well; only one of them can serve")
	} else if s.Handler != "" && !slices.Contains(Handlers, s.Handler) {
		v.bad("handler", s.Handler, "there is no such built-in handler (there is: %s); %s",
			strings.Join(Handlers, ", "), handlerHint(s.Handler, s.at != nil))
	}
	switch s.Handoff {
	case HandoffWorker:
	case HandoffStdio, HandoffSystemd:
		if s.Handler != "" && len(s.Program) == 0 {
			v.mistakes.add(v.at.of("handoff"), "%shandoff %s: the built-in handler %s takes its connection with handoff worker only", v.scope, s.Handoff, s.Handler)
		}
	default:
		v.bad("handoff", string(s.Handoff), "must be %s, %s or %s", HandoffWorker, HandoffStdio, HandoffSystemd)
	}
	switch {
	case s.QuitWord == "":
	case s.Handler != "echo":
		v.bad("quit-word", s.QuitWord, "only the echo handler has one")
	case len(s.QuitWord) > maxWord:
		v.mistakes.add(v.at.of("quit-word"), "%squit-word of %d bytes: at most %d are allowed", v.scope, len(s.QuitWord), maxWord)
	case strings.ContainsAny(s.QuitWord, "\r\n"):
		v.bad("quit-word", s.QuitWord, "must be a single line")
	}
}

func handlerHint(found string, inFile bool) string {
	switch hint := suggestion(found, Handlers); {
	case strings.HasPrefix(hint, "did you mean"):
		return hint
	case inFile:
		return "any other program is a program"
	}
	return "a program is given after --"
}

func (s *Service) validateProcess(v validator) {
	self := currentIdentity()
	for i, name := range append([]string{s.User, s.Group}, s.SupplementaryGroups...) {
		key := append([]string{"user", "group"}, slices.Repeat([]string{"supplementary-groups"}, len(s.SupplementaryGroups))...)[i]
		if name == "" && i < 2 {
			continue
		}
		var err error
		if i == 0 {
			_, _, err = lookupUser(name)
		} else {
			_, err = lookupGroup(name)
		}
		if err != nil {
			if i >= 2 {
				key += "[" + strconv.Itoa(i-2) + "]"
			}
			v.bad(key, name, "%v", err)
			return
		}
	}
	id, err := s.Identity(self)
	switch {
	case err != nil:
		v.bad("user", s.User, "%v", err)
	case id != nil && id.UID != self.UID && !canChange(capSetUID):
		v.bad("user", s.User, "preforkd itself has no right to change to another user")
	case id != nil && !canChange(capSetGID):
		v.mistakes.add(v.at.of("group", "supplementary-groups", "user"), "%sgroup %s: preforkd itself has no right to change groups", v.scope, quoted(s.Group))
	}
	if s.Directory != "" {
		info, err := os.Stat(s.Directory)
		switch {
		case !strings.HasPrefix(s.Directory, "/"):
			v.bad("directory", s.Directory, "must be an absolute path")
		case err != nil:
			v.bad("directory", s.Directory, "%v", reason(err))
		case !info.IsDir():
			v.bad("directory", s.Directory, "is not a directory")
		}
	}
	v.variables(s.Env)
}

// variables finds variables that are set twice.
func (v validator) variables(env []string) {
	seen := map[string]bool{}
	for i, variable := range env {
		name, _, _ := strings.Cut(variable, "=")
		if seen[name] {
			v.bad("env["+strconv.Itoa(i)+"]", variable, "%s is set twice", name)
		}
		seen[name] = true
	}
}

func (s *Service) validateLimits(v validator) {
	if s.MaxConnections < 1 {
		v.bad("max-connections", s.MaxConnections, "must be at least 1")
	}
	if s.Burst > 0 && !s.Rate.IsLimit() {
		v.bad("burst", s.Burst, "there is no rate")
	}
	if s.BurstPerSource > 0 && !s.RatePerSource.IsLimit() {
		v.bad("burst-per-source", s.BurstPerSource, "there is no rate-per-source")
	}
	if d := s.RandomEarlyDrop; d.Start >= s.MaxConnections && d.Start > 0 {
		v.bad("random-early-drop", d.String(), "there are never %d connections with max-connections %d", d.Start+1, s.MaxConnections)
	}
	if len(s.RefuseMessage) > maxRefusal {
		v.mistakes.add(v.at.of("refuse-message"), "%srefuse-message of %d bytes: at most %d are allowed", v.scope, len(s.RefuseMessage), maxRefusal)
	}
	if s.IdleTimeout > 0 && s.Handoff != HandoffWorker {
		v.bad("idle-timeout", s.IdleTimeout, "only workers with handoff worker know when a connection is idle")
	}
	if len(s.PenaltyExitCodes)+len(s.PenaltySignals) > 0 && s.Penalty <= 0 {
		v.bad("penalty", s.Penalty, "must be more than nothing")
	}
	if s.Penalty > s.PenaltyMax {
		v.bad("penalty-max", s.PenaltyMax, "must not be less than penalty, %v", s.Penalty)
	}
	if s.ProxyTimeout <= 0 && len(s.ProxyProtocol) > 0 {
		v.bad("proxy-timeout", s.ProxyTimeout, "must be more than nothing")
	}
}

func (s *Service) validateSockets(v validator) {
	for _, d := range []struct {
		key   string
		value time.Duration
	}{{"keepalive", s.Keepalive}, {"defer-accept", s.DeferAccept}} {
		if d.value != 0 && (d.value < time.Second || d.value > maxProbe || d.value%time.Second != 0) {
			v.bad(d.key, d.value, "must be whole seconds from 1s to %v, or 0s", maxProbe)
		}
	}
	const longestInterface = 15 // IFNAMSIZ with its NUL is 16
	if len(s.BindToDevice) > longestInterface || strings.ContainsAny(s.BindToDevice, "/ \x00") {
		v.bad("bind-to-device", s.BindToDevice, "is not the name of an interface")
	}
	isUnix := slices.ContainsFunc(s.Listen, Address.IsUnix)
	for _, k := range []struct {
		name, value string
		look        func(string) error
	}{
		{"socket-mode", s.SocketMode.String(), nil},
		{"socket-owner", s.SocketOwner, func(name string) error { _, _, err := lookupUser(name); return err }},
		{"socket-group", s.SocketGroup, func(name string) error { _, err := lookupGroup(name); return err }},
	} {
		if k.value == "" {
			continue
		}
		if !isUnix {
			v.bad(k.name, k.value, "the service listens at no unix socket")
		} else if k.look != nil {
			if err := k.look(k.value); err != nil {
				v.bad(k.name, k.value, "%v", err)
			}
		}
	}
}

// validatePeers looks up the accounts that lists of peers name.
func (s *Service) validatePeers(v validator) {
	for key, list := range map[string][]PeerSet{
		"allow": s.Allow, "deny": s.Deny, "penalty-exempt": s.PenaltyExempt, "proxy-protocol": s.ProxyProtocol,
	} {
		v.accounts(key, list)
	}
}

func (v validator) accounts(key string, list []PeerSet) {
	for i, p := range list {
		if p.Account == "" {
			continue
		}
		if _, err := p.ID(); err != nil {
			v.bad(key+"["+strconv.Itoa(i)+"]", p.String(), "%v", err)
		}
	}
}

func (r *Rule) validate(v validator, s *Service) {
	v.accounts("from", r.From)
	v.variables(r.Env)
	for key, set := range map[string]bool{
		"env": len(r.Env) > 0, "program": len(r.Program) > 0, "max-connections-per-source": r.MaxConnectionsPerSource != nil,
		"rate-per-source": r.RatePerSource != nil, "burst-per-source": r.BurstPerSource != nil,
		"max-lifetime": r.MaxLifetime != nil, "idle-timeout": r.IdleTimeout != nil,
	} {
		if set && r.Action == ActionDeny {
			v.mistakes.add(v.at.of(key), "%s%s: means nothing in a rule that denies", v.scope, key)
		}
	}
	rate := s.RatePerSource
	if r.RatePerSource != nil {
		rate = *r.RatePerSource
	}
	if r.BurstPerSource != nil && *r.BurstPerSource > 0 && !rate.IsLimit() {
		v.bad("burst-per-source", *r.BurstPerSource, "there is no rate-per-source")
	}
	if len(r.Program) > 0 && s.Handler != "" {
		v.bad("program", r.Program[0], "the service has a handler; a rule's program takes the place of a program")
	}
	if r.IdleTimeout != nil && *r.IdleTimeout > 0 && s.Handoff != HandoffWorker {
		v.bad("idle-timeout", *r.IdleTimeout, "only workers with handoff worker know when a connection is idle")
	}
}

// validateRuleSets finds peers that two rules speak of: neither would be the
// more specific one.
func (s *Service) validateRuleSets(v validator) {
	first := map[PeerSet]int{}
	for i := range s.Rules {
		for j, p := range s.Rules[i].From {
			if by, taken := first[p]; taken {
				v.mistakes.add(s.Rules[i].at.of("from["+strconv.Itoa(j)+"]", "from"), "%srule %d: from %s: rule %d is about the same",
					v.scope, i+1, quoted(p.String()), by+1)
				continue
			}
			first[p] = i
		}
	}
}

func (s *Service) validateSpares(v validator) {
	if s.MinSpares > s.MaxSpares {
		v.bad("min-spares", s.MinSpares, "must not be more than max-spares %d", s.MaxSpares)
	}
	switch n := s.ConnectionsPerWorker; {
	case n < 1:
		v.bad("connections-per-worker", n, "must be at least 1")
	case n > 1 && s.Handoff != HandoffWorker:
		v.bad("connections-per-worker", n, "only workers with handoff worker can serve more than one")
	case n > 1 && s.MaxSpares < 1:
		v.bad("connections-per-worker", n, "needs spares, where a worker waits for its next connection")
	}
}
