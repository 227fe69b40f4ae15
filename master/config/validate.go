package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxWord bounds a quit word in bytes. A worker holds that much of a line back
// while it may still become the word.
const maxWord = 1024

// Validate reports everything that is wrong with a completed configuration,
// one error for each mistake, joined. It looks for the programs that the
// configuration names and changes nothing.
func (c *Config) Validate() error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	for _, d := range []struct {
		key   string
		value time.Duration
	}{{"drain-timeout", c.DrainTimeout}, {"kill-delay", c.KillDelay}} {
		if d.value < 0 {
			add("%s %v: must not be negative", d.key, d.value)
		}
	}
	seen := make(map[Address]string)
	for i := range c.Services {
		s := &c.Services[i]
		for _, a := range s.Listen {
			if by, taken := seen[a]; taken && (a.IsUnix() || a.Port != 0) {
				add("listen %v: listed twice, for service %s and service %s", a, by, s.Name)
			}
			seen[a] = s.Name
		}
		s.validate(add)
	}
	if _, err := c.Commands(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (s *Service) validate(add func(string, ...any)) {
	if s.Handler != "" && !slices.Contains(Handlers, s.Handler) {
		add("handler %q: there is no such built-in handler (there is: %s); a program is given after --",
			s.Handler, strings.Join(Handlers, ", "))
	}
	switch s.Handoff {
	case HandoffWorker:
	case HandoffStdio:
		if s.Handler != "" {
			add("handoff stdio: the built-in handler %s takes its connection with handoff worker only", s.Handler)
		}
	default:
		add("handoff %q: must be %s or %s", s.Handoff, HandoffWorker, HandoffStdio)
	}
	if s.MaxConnections < 1 {
		add("max-connections %d: must be at least 1", s.MaxConnections)
	}
	switch {
	case s.QuitWord == "":
	case s.Handler != "echo":
		add("quit-word %q: only the echo handler has one", s.QuitWord)
	case len(s.QuitWord) > maxWord:
		add("quit-word of %d bytes: at most %d are allowed", len(s.QuitWord), maxWord)
	case strings.ContainsAny(s.QuitWord, "\r\n"):
		add("quit-word %q: must be a single line", s.QuitWord)
	}
}
