package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// complete returns a valid configuration, with a change.
func complete(t *testing.T, change func(*Config, *Service)) Config {
	t.Helper()
	worker := filepath.Join(t.TempDir(), "worker")
	if err := os.WriteFile(worker, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	c := Default()
	c.WorkerBinary = worker
	c.Services = []Service{DefaultService()}
	change(&c, &c.Services[0])
	c.Complete()
	return c
}

func TestDefaults(t *testing.T) {
	c := complete(t, func(*Config, *Service) {})
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	s := c.Services[0]
	if s.Name != "echo" || s.Handler != "echo" || s.Handoff != HandoffWorker || s.Listen[0].String() != DefaultListen {
		t.Errorf("completed to %+v", s)
	}
	c = complete(t, func(_ *Config, s *Service) { s.Program = []string{"/bin/cat", "-u"} })
	s = c.Services[0]
	if s.Name != "cat" || s.Handler != "" || s.Handoff != HandoffStdio {
		t.Errorf("completed to %+v", s)
	}
}

func TestValidateSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	loopback, err := ParseAddress("127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*Config, *Service)
		want   string
	}{
		"unknown handler": {func(_ *Config, s *Service) { s.Handler = "ehco" },
			`handler "ehco": there is no such built-in handler (there is: echo)`},
		"unknown handoff": {func(_ *Config, s *Service) { s.Handoff = "x" },
			`handoff "x": must be worker, stdio or systemd`},
		"built-in over stdio": {func(_ *Config, s *Service) { s.Handoff = HandoffStdio },
			"the built-in handler echo takes its connection with handoff worker only"},
		"no slots": {func(_ *Config, s *Service) { s.MaxConnections = 0 },
			"max-connections 0: must be at least 1"},
		"negative limit": {func(_ *Config, s *Service) { s.MaxConnections = -1 },
			"max-connections -1: must be at least 1"},
		"negative timeout": {func(c *Config, _ *Service) { c.DrainTimeout = -time.Second },
			"drain-timeout -1s: must not be negative"},
		"quit word of two lines": {func(_ *Config, s *Service) { s.QuitWord = "a\nb" },
			"must be a single line"},
		"quit word too long": {func(_ *Config, s *Service) { s.QuitWord = long(1025) },
			"quit-word of 1025 bytes: at most 1024 are allowed"},
		"quit word for a program": {func(_ *Config, s *Service) { s.Program, s.QuitWord = []string{"/bin/cat"}, "x" },
			"only the echo handler has one"},
		"address twice": {func(_ *Config, s *Service) { s.Listen = []Address{loopback, loopback} },
			"listen 127.0.0.1:1: listed twice"},
		"no such program": {func(_ *Config, s *Service) { s.Program = []string{"/nonexistent"} },
			`program "/nonexistent": no such file or directory`},
		"program not in PATH": {func(_ *Config, s *Service) { s.Program = []string{"nonexistent-program"} },
			`program "nonexistent-program": file does not exist in PATH`},
		"program without a name": {func(_ *Config, s *Service) { s.Program = []string{""} },
			`program "": the name is empty`},
		"program is a directory": {func(_ *Config, s *Service) { s.Program = []string{dir} },
			"is a directory"},
		"program is not executable": {func(_ *Config, s *Service) { s.Program = []string{plain} },
			"not an executable file"},
		"control at an abstract name": {func(c *Config, _ *Service) { c.Control = "@preforkd" },
			`control "@preforkd": must be the path of a file`},
		"control at a relative path": {func(c *Config, _ *Service) { c.Control = "nonee" },
			`control "nonee": must be auto, none or an absolute path`},
		"control at a long path": {func(c *Config, _ *Service) { c.Control = "/" + strings.Repeat("x", 107) },
			`has 108 bytes, at most 107 are allowed`},
		"control at a service's socket": {func(c *Config, s *Service) {
			c.Control, s.Listen = "/run/x", []Address{{Path: "/run/x"}}
		}, `control "/run/x": service echo listens there`},
		"control of nobody": {func(c *Config, _ *Service) { c.ControlOwner = "no such user" },
			`control-owner "no such user": there is no such user`},
		"control of no group": {func(c *Config, _ *Service) { c.ControlGroup = "no such group" },
			`control-group "no such group": there is no such group`},
		"worker is missing": {func(c *Config, _ *Service) { c.WorkerBinary = "/nonexistent" },
			`worker-binary "/nonexistent": no such file or directory`},
		"worker is not executable": {func(c *Config, _ *Service) { c.WorkerBinary = plain },
			"not an executable file"},
		"wrap is missing": {func(c *Config, _ *Service) { c.Wrap = []string{"/nonexistent"} },
			`wrap "/nonexistent": no such file or directory`},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := complete(t, c.change)
			err := cfg.Validate()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("one mistake, several lines: %q", err)
			}
		})
	}
}

func TestCommand(t *testing.T) {
	c := complete(t, func(c *Config, s *Service) {
		c.Wrap = []string{"env", "X=1"}
		s.Program = []string{"cat", "-u"}
	})
	commands, err := c.Commands()
	if err != nil {
		t.Fatal(err)
	}
	got := commands[0].Worker
	if filepath.Base(got.Path) != "env" || !filepath.IsAbs(got.Path) {
		t.Errorf("path %q", got.Path)
	}
	if len(got.Args) != 4 || got.Args[0] != "env" || got.Args[1] != "X=1" || filepath.Base(got.Args[2]) != "cat" ||
		!filepath.IsAbs(got.Args[2]) || got.Args[3] != "-u" {
		t.Errorf("arguments %q", got.Args)
	}
}
