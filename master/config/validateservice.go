package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/preforkd/preforkd/master/oomscore"
)

const (
	// maxWord is the maximum length of a quit word in bytes. A worker keeps
	// that much of a line while the line may still become the word.
	maxWord = 1024
	// maxRefusal is the maximum length of refuse-message in bytes. It must fit
	// into the send buffer of a new socket, because the master does not wait
	// for room.
	maxRefusal = 1024
	// maxProbe is the maximum of times that the kernel counts in seconds
	// (MAX_TCP_KEEPIDLE of linux/net/tcp.h).
	maxProbe = 32767 * time.Second
	// maxUserTimeout is below the maximum of TCP_USER_TIMEOUT, 2^31-1 ms.
	maxUserTimeout = 24 * 24 * time.Hour
)

func (s *Service) validate(v validator) {
	s.validateName(v)
	s.validateHandler(v)
	s.validateProcess(v)
	s.validateProcessors(v)
	s.validateSpares(v)
	s.validateLimits(v)
	s.validateSockets(v)
	s.validatePeers(v)
	for i := range s.Rules {
		s.Rules[i].validate(validator{fmt.Sprintf("%srule %d: ", v.scope, i+1), s.Rules[i].at, v.errs}, s)
	}
	s.validateRuleSets(v)
}

func (s *Service) validateName(v validator) {
	switch {
	case s.Name == "" || len(s.Name) > 255 || !utf8.ValidString(s.Name):
		v.errs.add(v.at.find(), "service %s: the name must have 1 to 255 bytes", quoted(s.Name))
	case strings.ContainsFunc(s.Name, func(r rune) bool { return !unicode.IsPrint(r) }):
		v.errs.add(v.at.find(), "service %s: the name must not hold control characters", quoted(s.Name))
	case strings.HasPrefix(s.Name, ReservedPrefix):
		v.errs.add(v.at.find(), "service %s: names that begin with %q are those of stored sockets", quoted(s.Name), ReservedPrefix)
	}
}

func (s *Service) validateHandler(v validator) {
	if s.Handler != "" && len(s.Program) > 0 {
		v.report("handler", s.Handler, "there is a program as well; only one of them can serve")
	} else if s.Handler != "" && !slices.Contains(Handlers, s.Handler) {
		v.report("handler", s.Handler, "there is no such built-in handler (there is: %s); %s",
			strings.Join(Handlers, ", "), handlerHint(s.Handler, s.at.inFile()))
	}
	switch s.Handoff {
	case HandoffWorker:
	case HandoffStdio, HandoffSystemd:
		if s.Handler != "" && len(s.Program) == 0 {
			v.errs.add(v.at.find("handoff"), "%shandoff %s: the built-in handler %s takes its connection with handoff worker only", v.scope, s.Handoff, s.Handler)
		}
	default:
		v.report("handoff", string(s.Handoff), "must be %s, %s or %s", HandoffWorker, HandoffStdio, HandoffSystemd)
	}
	switch {
	case s.QuitWord == "":
	case s.Handler != "echo":
		v.report("quit-word", s.QuitWord, "only the echo handler has one")
	case len(s.QuitWord) > maxWord:
		v.errs.add(v.at.find("quit-word"), "%squit-word of %d bytes: at most %d are allowed", v.scope, len(s.QuitWord), maxWord)
	case strings.ContainsAny(s.QuitWord, "\r\n"):
		v.report("quit-word", s.QuitWord, "must be a single line")
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
		v.report("max-connections", s.MaxConnections, "must be at least 1")
	}
	if s.Burst > 0 && !s.Rate.IsLimit() {
		v.report("burst", s.Burst, "there is no rate")
	}
	if s.BurstPerSource > 0 && !s.RatePerSource.IsLimit() {
		v.report("burst-per-source", s.BurstPerSource, "there is no rate-per-source")
	}
	if d := s.RandomEarlyDrop; d.Start >= s.MaxConnections && d.Start > 0 {
		v.report("random-early-drop", d.String(), "there are never %d connections with max-connections %d", d.Start+1, s.MaxConnections)
	}
	if len(s.RefuseMessage) > maxRefusal {
		v.errs.add(v.at.find("refuse-message"), "%srefuse-message of %d bytes: at most %d are allowed", v.scope, len(s.RefuseMessage), maxRefusal)
	}
	if s.IdleTimeout > 0 && s.Handoff != HandoffWorker {
		v.report("idle-timeout", s.IdleTimeout, "only workers with handoff worker know when a connection is idle")
	}
	if s.HasPenalties() && s.Penalty <= 0 {
		v.report("penalty", s.Penalty, "must be more than nothing")
	}
	if s.Penalty > s.PenaltyMax {
		v.report("penalty-max", s.PenaltyMax, "must not be less than penalty, %v", s.Penalty)
	}
	if s.ProxyTimeout <= 0 && len(s.ProxyProtocol) > 0 {
		v.report("proxy-timeout", s.ProxyTimeout, "must be more than nothing")
	}
}

func (s *Service) validateSockets(v validator) {
	for _, d := range []struct {
		key   string
		value time.Duration
	}{{"keepalive", s.Keepalive}, {"defer-accept", s.DeferAccept}} {
		if d.value != 0 && (d.value < time.Second || d.value > maxProbe || d.value%time.Second != 0) {
			v.report(d.key, d.value, "must be whole seconds from 1s to %v, or 0s", maxProbe)
		}
	}
	if s.UserTimeout < 0 || s.UserTimeout > maxUserTimeout || s.UserTimeout%time.Millisecond != 0 {
		v.report("user-timeout", s.UserTimeout, "must be whole milliseconds, at most %v", maxUserTimeout)
	}
	const longestInterface = 15 // IFNAMSIZ with its NUL is 16
	if len(s.BindToDevice) > longestInterface || strings.ContainsAny(s.BindToDevice, "/ \x00") {
		v.report("bind-to-device", s.BindToDevice, "is not the name of an interface")
	}
	isUnix := slices.ContainsFunc(s.Listen, Address.IsUnix)
	for _, k := range []struct {
		name, value string
		lookup      func(string) error
	}{
		{"socket-mode", s.SocketMode.String(), nil},
		{"socket-owner", s.SocketOwner, func(name string) error { _, _, err := lookupUser(name); return err }},
		{"socket-group", s.SocketGroup, func(name string) error { _, err := lookupGroup(name); return err }},
	} {
		if k.value == "" {
			continue
		}
		if !isUnix {
			v.report(k.name, k.value, "the service listens at no unix socket")
		} else if k.lookup != nil {
			if err := k.lookup(k.value); err != nil {
				v.report(k.name, k.value, "%v", err)
			}
		}
	}
}

func (s *Service) validateSpares(v validator) {
	if s.MinSpares > s.MaxSpares {
		v.report("min-spares", s.MinSpares, "must not be more than max-spares %d", s.MaxSpares)
	}
	switch n := s.ConnectionsPerWorker; {
	case n < 1:
		v.report("connections-per-worker", n, "must be at least 1")
	case n > 1 && s.Handoff != HandoffWorker:
		v.report("connections-per-worker", n, "only workers with handoff worker can serve more than one")
	case n > 1 && s.MaxSpares < 1:
		v.report("connections-per-worker", n, "needs spares, where a worker waits for its next connection")
	}
}

// validateProcess checks what workers have at their start: whether the accounts
// exist on this machine, also for a box with a root of its own (as User= in
// systemd.exec(5)), and whether this process may use them and set the OOM score.
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
			v.report(key, name, "%v", err)
			return
		}
	}
	id, err := s.Identity(self)
	switch {
	case err != nil:
		v.report("user", s.User, "%v", err)
	case id != nil && id.UID != self.UID && !hasCapability(capSetUID):
		v.report("user", s.User, "preforkd itself has no right to change to another user")
	case id != nil && !hasCapability(capSetGID):
		v.errs.add(v.at.find("group", "supplementary-groups", "user"), "%sgroup %s: preforkd itself has no right to change groups", v.scope, quoted(s.Group))
	}
	if s.OOMScoreAdjust.Set {
		if err := oomscore.CheckAllowed(s.OOMScoreAdjust.Value); err != nil {
			v.report("oom-score-adjust", s.OOMScoreAdjust.Value, "%v", err)
		}
	}
	v.validateEnv(s.Env)
}

// validateEnv reports variables that are set twice, or that no program can be
// given.
func (v validator) validateEnv(env []string) {
	v.validateStrings("env", env)
	seen := map[string]bool{}
	for i, variable := range env {
		name, _, _ := strings.Cut(variable, "=")
		if seen[name] {
			v.report("env["+strconv.Itoa(i)+"]", variable, "%s is set twice", name)
		}
		seen[name] = true
	}
}

// validatePeers checks the accounts that lists of peers name.
func (s *Service) validatePeers(v validator) {
	for key, list := range map[string][]PeerSet{
		"allow": s.Allow, "deny": s.Deny, "penalty-exempt": s.PenaltyExempt, "proxy-protocol": s.ProxyProtocol,
	} {
		v.validateAccounts(key, list)
	}
}

func (v validator) validateAccounts(key string, list []PeerSet) {
	for i, p := range list {
		if p.Account == "" {
			continue
		}
		if _, err := p.ID(); err != nil {
			v.report(key+"["+strconv.Itoa(i)+"]", p.String(), "%v", err)
		}
	}
}

func (r *Rule) validate(v validator, s *Service) {
	v.validateAccounts("from", r.From)
	v.validateEnv(r.Env)
	for key, set := range map[string]bool{
		"env": len(r.Env) > 0, "program": len(r.Program) > 0, "max-connections-per-source": r.MaxConnectionsPerSource != nil,
		"rate-per-source": r.RatePerSource != nil, "burst-per-source": r.BurstPerSource != nil,
		"max-lifetime": r.MaxLifetime != nil, "idle-timeout": r.IdleTimeout != nil,
	} {
		if set && r.Action == ActionDeny {
			v.errs.add(v.at.find(key), "%s%s: means nothing in a rule that denies", v.scope, key)
		}
	}
	rate := s.RatePerSource
	if r.RatePerSource != nil {
		rate = *r.RatePerSource
	}
	if r.BurstPerSource != nil && *r.BurstPerSource > 0 && !rate.IsLimit() {
		v.report("burst-per-source", *r.BurstPerSource, "there is no rate-per-source")
	}
	if len(r.Program) > 0 && s.Handler != "" {
		v.report("program", r.Program[0], "the service has a handler; a rule's program takes the place of a program")
	}
	if r.IdleTimeout != nil && *r.IdleTimeout > 0 && s.Handoff != HandoffWorker {
		v.report("idle-timeout", *r.IdleTimeout, "only workers with handoff worker know when a connection is idle")
	}
}

// validateRuleSets reports peers that two rules name. Neither rule would be
// more specific than the other.
func (s *Service) validateRuleSets(v validator) {
	first := map[PeerSet]int{}
	for i := range s.Rules {
		for j, p := range s.Rules[i].From {
			if by, taken := first[p]; taken {
				v.errs.add(s.Rules[i].at.find("from["+strconv.Itoa(j)+"]", "from"), "%srule %d: from %s: rule %d is about the same",
					v.scope, i+1, quoted(p.String()), by+1)
				continue
			}
			first[p] = i
		}
	}
}

// HasPenalties reports whether something can make the service refuse a source for a
// while.
func (s *Service) HasPenalties() bool {
	return len(s.PenaltyExitCodes)+len(s.PenaltySignals)+len(s.PenaltyLimits) > 0
}
