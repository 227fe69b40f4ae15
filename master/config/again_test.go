package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// reload is a file that is loaded again and again, as a master does.
type reload struct {
	base *Base
	run  Run
}

// load loads a text, and makes it the base of the next load if nothing is wrong.
func (l *reload) load(text string) (Config, error) {
	c, err := parse("f", []byte(text), l.run, l.base)
	if err == nil {
		services := map[string]*Service{}
		for i := range c.Services {
			services[c.Services[i].Name] = &c.Services[i]
		}
		now := c.InForce()
		l.base = &Base{Config: &now, Service: func(name string) *Service { return services[name] }}
	}
	return c, err
}

// places returns where everything in a configuration stands.
func places(c *Config) map[string]Position {
	all := map[string]Position{}
	add := func(of string, p *positions) {
		for _, at := range p.places {
			key := at.key
			if at.item != notItem {
				key += fmt.Sprintf("[%d]", at.item)
			}
			all[of+key], _ = p.lookup(key)
		}
	}
	add("master ", &c.at)
	for i := range c.Services {
		s := &c.Services[i]
		add(s.Name+" ", &s.at)
		add(s.Name+" box ", &s.boxAt)
		for j := range s.Rules {
			add(fmt.Sprintf("%s rule %d ", s.Name, j), &s.Rules[j].at)
		}
	}
	return all
}

// kept returns the services that a load has taken from its base.
func kept(c *Config) (names []string) {
	for i := range c.Services {
		if c.Services[i].Kept() {
			names = append(names, c.Services[i].Name)
		}
	}
	return names
}

// What is loaded after another configuration is what would be loaded without it:
// the same values, the same places and the same mistakes. That holds for whatever
// is changed in the file, and for programs that come and go.
func TestLoadAgain(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", filepath.Join(dir, "first")+":"+filepath.Join(dir, "second")+":"+os.Getenv("PATH"))
	programs := []string{filepath.Join(dir, "program"), filepath.Join(dir, "first", "named"), filepath.Join(dir, "second", "named"), filepath.Join(dir, workerName)}
	for _, path := range programs {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	loads, taken := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		for _, path := range programs {
			makeProgram(t, path)
		}
		file := randomFile{programs: programs}
		var l reload
		started := map[string]Commands{}
		for range rapid.IntRange(5, 30).Draw(t, "loads") {
			good := slices.Clone(file.parts)
			for range rapid.IntRange(1, 3).Draw(t, "edits") {
				file.edit(t)
			}
			text := strings.Join(file.parts, "")
			got, gotErr := l.load(text)
			source, err := newFileText("f", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			want, wantErr := parseWhole(source, Run{})
			if fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
				t.Fatalf("%s\nafter another one: %v\nby itself: %v", text, gotErr, wantErr)
			}
			if gotErr != nil { // somebody mends it
				file.parts = good
				for _, path := range programs {
					makeProgram(t, path)
				}
				continue
			}
			if diff := cmp.Diff(want, got, sameConfig...); diff != "" {
				t.Fatalf("%s\nloaded after another one it is not the same: %s", text, diff)
			}
			if diff := cmp.Diff(places(&want), places(&got)); diff != "" {
				t.Fatalf("%s\nother places: %s", text, diff)
			}
			commands, err := want.Commands()
			if err != nil {
				t.Fatal(err)
			}
			for i, s := range got.Services {
				if before := started[s.Name]; s.Kept() && !cmp.Equal(before, commands[i]) {
					t.Fatalf("%s was kept, and starts %v instead of %v", s.Name, commands[i], before)
				}
			}
			clear(started)
			for i, s := range got.Services {
				started[s.Name] = commands[i]
			}
			loads++
			taken += len(kept(&got))
		}
	})
	if t.Logf("%d loads took %d services from the one before", loads, taken); taken == 0 {
		t.Error("nothing was ever taken from the configuration before")
	}
}

// makeProgram makes a program, and a directory beside it that may be gone as well.
func makeProgram(t rapid.TB, path string) {
	if err := os.MkdirAll(path+".d", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// A randomFile is a file in parts, each of which is about one service, or about the
// master, or is a mistake. The programs come and go.
type randomFile struct {
	parts    []string
	programs []string
}

// edit changes something.
func (f *randomFile) edit(t *rapid.T) {
	n := len(f.parts)
	what := rapid.SampledFrom([]string{"insert", "insert", "insert", "delete", "replace", "swap", "comment", "program", "directory"}).Draw(t, "edit")
	switch at := rapid.IntRange(0, max(n-1, 0)).Draw(t, "at"); {
	case what == "insert":
		f.parts = slices.Insert(f.parts, at, f.part(t))
	case what == "program":
		path := rapid.SampledFrom(f.programs).Draw(t, "program")
		if os.Remove(path) != nil {
			makeProgram(t, path)
		}
	case what == "directory":
		os.Remove(f.programs[0] + ".d") // until there is a mistake
	case n == 0:
	case what == "delete":
		f.parts = slices.Delete(f.parts, at, at+1)
	case what == "replace":
		f.parts[at] = f.part(t)
	case what == "swap":
		f.parts[0], f.parts[at] = f.parts[at], f.parts[0]
	case what == "comment":
		f.parts[at] = "# [service.a]\n\n" + f.parts[at]
	}
}

// part returns a part of a file.
func (f *randomFile) part(t *rapid.T) string {
	if rapid.IntRange(0, 7).Draw(t, "kind") == 0 {
		return rapid.SampledFrom([]string{
			"[master]\n", "[master]\nkill-delay = '3s'\n", "[master]\nmetrics = '127.0.0.1:9'\n",
			"[master]\nworker-binary = '/bin/true'\n", "[master]\nworker-binary = '/nonexistent'\n",
			"[master]\nkil-delay = '3s'\n", "kill = 1\n", "[service]\n", "[[service.a]]\n", "[service.a\n", "[service.a.box]\n", "[other]\n",
			"[service]\nd.program = ['/bin/cat']\nd.listen = ['127.0.0.1:99']\n", "service.e = { program = ['/bin/cat'], listen = ['127.0.0.1:98'] }\n",
		}).Draw(t, "master or mistake")
	}
	name := rapid.SampledFrom([]string{"a", "b", "c", `"a b"`, `"a"`}).Draw(t, "name")
	port := rapid.IntRange(1, 6).Draw(t, "port")
	keys := []string{
		fmt.Sprintf("listen = ['127.0.0.1:%d']\n", port),
		fmt.Sprintf("program = [%s]\n", rapid.SampledFrom([]string{"'/bin/cat'", "'named'", "'" + f.programs[0] + "', 'x'", "'cat'", "'/nonexistent'"}).Draw(t, "program")),
	}
	if rapid.IntRange(0, 2).Draw(t, "handler") == 0 {
		keys[1] = "handler = 'echo'\n"
	}
	for range rapid.IntRange(0, 2).Draw(t, "keys") {
		keys = append(keys, rapid.SampledFrom([]string{
			"max-connections = 7\n", "max-connections = 0\n", fmt.Sprintf("max-connections = %d\n", handlerUserPool.Size()), "max-connections = 7\nleftovers = 'keep'\n", "nodelay = false\n", "rate = '5/s'\n", "burst = 4\n", "handoff = 'systemd'\n", "spares = 2\n",
			"user = 'root'\n", "user = 'nobody-at-all'\n", "directory = '/'\n", "directory = '" + f.programs[0] + ".d'\n", "directory = '/nonexistent'\n", "oom-score-adjust = 5\n",
			"allow = ['10.0.0.0/8', 'uid:0']\n", "deny = ['10.0.0.0/8',\n  '10.1.0.0/16']\n", "env = ['A=1', 'A=2']\n", "refuse-message = \"\"\"\n[service.b]\n\"\"\"\n",
			"max-conections = 7\n", "listen = ['127.0.0.1:8']\n", "idle-timeout = '5s'\n", "socket-mode = '0600'\n",
		}).Draw(t, "key"))
	}
	keys = rapid.Permutation(keys).Draw(t, "order")
	tables := rapid.SampledFrom([]string{
		"", "", "", "", "[service.NAME.box]\npreset = 'basic'\n", "[service.NAME.box]\npreset = 'none'\n", "[service.NAME.box]\npreset = 'hard'\n",
		"[[service.NAME.rule]]\nfrom = ['192.0.2.0/24']\nprogram = ['named']\n[[service.NAME.rule]]\nfrom = ['192.0.2.1']\naction = 'deny'\n",
		"[[service.NAME.rule]]\nfrom = ['192.0.2.0/24', '192.0.2.0/24']\n", "[service.b.box]\npreset = 'none'\n",
	}).Draw(t, "tables")
	return fmt.Sprintf("[service.%s]\n%s%s", name, strings.Join(keys, ""), strings.ReplaceAll(tables, "NAME", name))
}

// A service is not kept whose user has another number by now, though the file says
// the same.
func TestLoadAgainComparesAccounts(t *testing.T) {
	var l reload
	text := worker(t)
	for i, key := range []string{"user = 'root'", "socket-group = 'root'", "allow = ['uid:root']", "supplementary-groups = ['0']", ""} {
		text += fmt.Sprintf("[service.s%d]\nlisten = ['unix:@preforkd-test-%d']\nprogram = ['/bin/cat']\n%s\n", i, i, key)
	}
	load := func() string {
		t.Helper()
		c, err := l.load(text)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(kept(&c), " ")
	}
	load()
	if got := load(); got != "s0 s1 s2 s3 s4" {
		t.Errorf("without a change %s are kept", got)
	}
	accounts := l.base.Config.setting.accounts
	accounts[accountName{name: "root"}] = account{there: true, id: 1000}
	if got := load(); got != "s1 s3 s4" {
		t.Errorf("with another user %s are kept", got)
	}
	delete(l.base.Config.setting.accounts, accountName{group: true, name: "root"})
	if got := load(); got != "s0 s2 s3 s4" {
		t.Errorf("with another group %s are kept", got)
	}
}

// A handler is kept that has the default box, as long as the services before it leave it
// the same users.
func TestLoadAgainKeepsHandlers(t *testing.T) {
	var l reload
	master := worker(t)
	load := func(most int) string {
		t.Helper()
		text := master
		for i := range 3 {
			text += fmt.Sprintf("[service.s%d]\nlisten = ['unix:@preforkd-test-%d']\nhandler = 'echo'\n", i, i)
			if i == 0 {
				text += fmt.Sprintf("max-connections = %d\n", most)
			}
		}
		c, err := l.load(text)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(kept(&c), " ")
	}
	load(7)
	if got := load(7); got != "s0 s1 s2" {
		t.Errorf("without a change %s are kept", got)
	}
	if got := load(8); got != "s1 s2" {
		t.Errorf("where there are enough users %s are kept", got)
	}
	if got := load(handlerUserPool.Size()); got != "" {
		t.Errorf("with no users left %s are kept", got)
	}
	if got := load(handlerUserPool.Size() + 1); got != "" {
		t.Errorf("with all users free again %s are kept", got)
	}
	l.base.Config.setting.boxes.noUsers = true // they were somebody else's
	if got := load(handlerUserPool.Size() + 1); got != "" {
		t.Errorf("on another machine %s are kept", got)
	}
}
