package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// handlerServices parses services of which each has the echo handler and these keys.
func handlerServices(t *testing.T, keys ...string) []Service {
	t.Helper()
	text := worker(t)
	for i, k := range keys {
		text += fmt.Sprintf("[service.s%d]\nlisten = ['127.0.0.1:%d']\nhandler = 'echo'\n%s\n", i, i+1, k)
	}
	c, err := Parse("f", []byte(text), Run{})
	if err != nil {
		t.Fatalf("%q: %v", keys, err)
	}
	again, err := Parse("f", []byte(c.TOML()), Run{})
	if err != nil || again.TOML() != c.TOML() {
		t.Errorf("%q: read again: %v\n%s", keys, err, c.TOML())
	}
	for i := range c.Services {
		if a, b := c.Services[i].Box.completed(), again.Services[i].Box.completed(); fmt.Sprintf("%+v", a) != fmt.Sprintf("%+v", b) {
			t.Errorf("%q: read again: %+v, want %+v", keys, b, a)
		}
	}
	return c.Services
}

// A built-in handler has a box that may lack anything. What the configuration says is
// required, and the rest stays as it was.
func TestHandlerBox(t *testing.T) {
	b := handlerServices(t, "")[0].Box
	if b.Summary() != "default" || !b.DynamicUser || !b.PrivateNetwork || b.PrivatePIDs || len(b.Implied) != len(b.asked()) {
		t.Errorf("the default is %+v", b)
	}
	for _, key := range b.asked() {
		if !b.MayLack(key) {
			t.Errorf("%s may not be missing", key)
		}
	}
	if written := b.Written(); !written.IsZero() {
		t.Errorf("nothing is written, and that is %+v", written)
	}

	b = handlerServices(t, "[service.s0.box]\nprivate-network = true\nprivate-pids = true\nprotect-home = false\noptional = ['private-pids']\n")[0].Box
	if b.Summary() != "default, private-pids on, protect-home off, optional changed" {
		t.Errorf("the summary is %s", b.Summary())
	}
	for key, may := range map[string]bool{"private-network": false, "private-pids": true, "protect-home": false, "dynamic-user": true} {
		if b.MayLack(key) != may {
			t.Errorf("%s may be missing: %v, want %v", key, !may, may)
		}
	}
	if written := b.Written(); !slices.Equal(written.asked(), []string{"private-network", "private-pids"}) {
		t.Errorf("written are %q", written.asked())
	}

	for _, preset := range []BoxPreset{BoxNone, BoxBasic, BoxStrict} {
		b := handlerServices(t, fmt.Sprintf("[service.s0.box]\npreset = '%s'\n", preset))[0].Box
		if b.Summary() != string(preset) || len(b.Implied) > 0 || b.MayLack("no-new-privileges") {
			t.Errorf("preset %s is %+v", preset, b)
		}
	}
	if _, err := Parse("f", []byte(worker(t)+"[service.s0]\nlisten = [':1']\nhandler = 'echo'\nbox.preset = 'default'\n"), Run{}); err == nil {
		t.Error("the default can be written as a preset")
	}
}

// The default gives way to what else a service says, and to other services: no
// configuration is wrong because of it.
func TestHandlerBoxUsers(t *testing.T) {
	for keys, dynamic := range map[string]bool{
		"connections-per-worker = 5\nmax-spares = 9": true,
		"user = 'nobody'":                    false,
		"group = 'daemon'":                   false,
		"leftovers = 'keep'":                 false,
		"max-connections = 4080":             true,
		"max-connections = 4081":             false,
		"max-connections = 4080\nspares = 1": false,
		"box.dynamic-user = false":           false,
	} {
		if b := handlerServices(t, keys)[0].Box; b.DynamicUser != dynamic || b.DynamicUser != (b.UserPool == handlerUserPool) {
			t.Errorf("%s: dynamic-user %v, %v, want %v", keys, b.DynamicUser, b.UserPool, dynamic)
		}
	}
	// Users are shared by the services that have some by default; the others have their
	// own.
	var has []string
	for _, s := range handlerServices(t, "max-connections = 4000", "max-connections = 100", "max-connections = 80", "max-connections = 1",
		"max-connections = 1\nbox.dynamic-user = true", "box.preset = 'strict'") {
		if s.Box.DynamicUser {
			has = append(has, s.Name)
		}
	}
	if got := strings.Join(has, " "); got != "s0 s2 s4 s5" {
		t.Errorf("users of their own have the connections of %s", got)
	}
}

// What is no worker binary of preforkd's own is as any program.
func TestHandlerBoxOfOthers(t *testing.T) {
	own := filepath.Join(t.TempDir(), workerName)
	foreign := filepath.Join(t.TempDir(), "worker")
	for _, path := range []string{own, foreign} {
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		path    string
		wrap    []string
		summary string
	}{{own, nil, "default"}, {foreign, nil, "none, private-network on"}, {own, []string{"env"}, "none, private-network on"}} {
		text := fmt.Sprintf("[master]\nworker-binary = %q\n[service.a]\nlisten = [':1']\nhandler = 'echo'\nbox.private-network = true\n", test.path)
		c, err := Parse("f", []byte(text), Run{Wrap: test.wrap})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Services[0].Box.Summary(); got != test.summary {
			t.Errorf("%s, %q: %s, want %s", test.path, test.wrap, got, test.summary)
		}
	}
}

// Flags do what a file does.
func TestHandlerBoxFlags(t *testing.T) {
	_, path, _ := strings.Cut(strings.TrimSpace(worker(t)), " = ")
	path = strings.Trim(path, `"`)
	c, err := FromFlags(map[string][]string{"box-private-network": {"true"}, "spares": {"3"}, "worker-binary": {path}}, "", nil, Run{})
	if err != nil {
		t.Fatal(err)
	}
	b := c.Services[0].Box
	if b.Preset != BoxDefault || b.MayLack("private-network") || !b.MayLack("dynamic-user") {
		t.Errorf("%+v", b)
	}
	if c, err = FromFlags(nil, "", []string{"/bin/cat"}, Run{}); err != nil || !c.Services[0].Box.IsZero() {
		t.Errorf("a program has %+v, %v", c.Services[0].Box, err)
	}
}
