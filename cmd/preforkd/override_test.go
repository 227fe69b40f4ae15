package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// Flags of the master win over what the file says, at the start and at each
// reload, and the log says which.
func TestFlagsWinOverTheFile(t *testing.T) {
	t.Parallel()
	dir := systest.Dir(t)
	chosen, unused := filepath.Join(dir, "chosen.sock"), filepath.Join(dir, "unused.sock")
	file := func(lines ...string) string {
		return "[master]\ncontrol = \"" + unused + "\"\n" + strings.Join(lines, "\n") + "\n" + single(catting)
	}
	m := systest.Options{Config: file(`log-peer = "full"`), Args: []string{
		"--control", chosen, "--log-peer", "none", "--drain-timeout", "7s", "--log-level", "debug",
	}}.Start(t)
	overridden := func(n int, flags string) {
		t.Helper()
		if e := m.Wait(t, n, systest.Is("overridden"))[n-1]; !strings.Contains(e.Line, `"flags":"`+flags+`"`) || e.Level != "info" {
			t.Errorf("%s", e.Line)
		}
	}
	overridden(1, "--control --log-peer")
	if e := m.WaitFor(t, systest.Is("control")); e.Local != "unix:"+chosen {
		t.Errorf("%s", e.Line)
	}
	peerIsHidden := func() {
		t.Helper()
		c := m.Dial(t)
		c.Echo(t, "hello")
		c.Close()
		events := m.Events(systest.Is(systest.Accepted))
		for i := range events {
			if events[i].Peer != "" {
				t.Errorf("%s", events[i].Line)
			}
		}
	}
	peerIsHidden()
	// Another file has nothing that would win, nor does one that says the same.
	reloaded(t, m, file(`log-peer = "prefix"`, `drain-timeout = "99s"`))
	overridden(2, "--control --drain-timeout --log-peer")
	peerIsHidden()
	reloaded(t, m, file(`drain-timeout = "7s"`))
	overridden(3, "--control")
	peerIsHidden()
	reloaded(t, m, single(catting))
	if r := systest.Run(t, "log-level", "--control", chosen); r.Code != 0 || r.Stdout != "debug\n" {
		t.Errorf("%+v", r)
	}
	if _, err := os.Lstat(unused); err == nil {
		t.Error("the file has won")
	}
	if n := len(m.Events(systest.Is("overridden"))); n != 3 {
		t.Errorf("%d times overridden, want 3: a file that says nothing else has nothing to override", n)
	}
	m.Stop(t)
	if e := m.WaitFor(t, systest.Is(systest.Draining)); !strings.Contains(e.Line, `"timeout":7`) {
		t.Errorf("%s", e.Line)
	}
}

// check takes the same flags and prints what is in force then. Flags of a service
// are refused by name, and mistakes name the flag that is wrong.
func TestCheckWithFlagsBesideTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(systest.Dir(t), "preforkd.toml")
	if err := os.WriteFile(path, []byte("[master]\nkill-delay = \"1s\"\n"+single(catting)), 0o644); err != nil {
		t.Fatal(err)
	}
	r := systest.Run(t, "check", "--config", path, "--kill-delay", "3s", "--control=none", "--log-format", "json", "--debug")
	words := strings.Fields(r.Stdout)
	value := func(key string) string { return words[slices.Index(words, key)+2] }
	if r.Code != 0 || r.Stderr != "" || value("kill-delay") != `"3s"` || value("control") != `"none"` {
		t.Errorf("%+v", r)
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"a service's": {
			[]string{"--kill-delay", "3s", "--rate", "5/s", "--allow", "::1"},
			"preforkd: --allow, --rate: services are configured in the file; beside --config only flags of the master can be given\n",
		},
		"a mistake":      {[]string{"--control", "here"}, "preforkd: --control \"here\": must be auto, none or an absolute path\n"},
		"no such socket": {[]string{"--control-mode", "888"}, "preforkd: --control-mode \"888\": must be octal digits from \"000\" to \"777\"\n"},
	} {
		for _, command := range []string{"check", "serve"} {
			if r := systest.Run(t, append([]string{command, "--config", path}, c.args...)...); r.Code != 2 || r.Stderr != c.want || r.Stdout != "" {
				t.Errorf("%s, %s: %+v", command, name, r)
			}
		}
	}
	if err := os.WriteFile(path, []byte(single(catting, "rate = 5")), 0o644); err != nil {
		t.Fatal(err)
	}
	want := "preforkd: --kill-delay \"x\": must be a duration such as \"30s\", \"5m\" or \"1h30m\"\n" + path + ":4:8: service.one: rate 5: must be a string\n"
	if r := systest.Run(t, "check", "--config", path, "--kill-delay", "x"); r.Code != 2 || r.Stderr != want {
		t.Errorf("%+v", r)
	}
}
