package config

import (
	"fmt"
	"slices"
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

// ReservedPrefix begins the names by which listeners are left with a service
// manager. A socket that is passed by another name is for the service of that
// name.
const ReservedPrefix = "stored."

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
	c.validateControl(validator{c.scope(), c.at, mistakes})
	c.validateMetrics(validator{c.scope(), c.at, mistakes})
	c.validateAddresses(mistakes)
	workerChecked := false
	for i := range c.Services {
		s := &c.Services[i]
		v := validator{s.scope(), s.at, mistakes}
		if s.at != nil && !s.at.has("listen") && !c.Activated {
			mistakes.add(s.at[""], "%slisten is missing, and no socket was passed by a service manager", v.scope)
		}
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

// scope is the same for the master's own table.
func (c *Config) scope() string {
	if c.at == nil {
		return ""
	}
	return "master: "
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
	case strings.HasPrefix(s.Name, ReservedPrefix):
		v.mistakes.add(v.at.of(), "service %s: names that begin with %q are those of stored sockets", quoted(s.Name), ReservedPrefix)
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
