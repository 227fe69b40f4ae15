package config

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/preforkd/preforkd/master/box/syscalls"
)

// Boxes to the same effect are equal, however they are written, and others are not.
func TestEffective(t *testing.T) {
	samples := boxSamples(t)
	for _, c := range []struct {
		name, one, other string
		same             bool
	}{
		{"a preset and its keys", "preset = 'basic'", "no-new-privileges = true\ncapabilities = []\nsystem-calls = ['@basic']\nrestrict-namespaces = true\nrestrict-realtime = true\nrestrict-suid-sgid = true\nlock-personality = true\nlimit-core = '0'", true},
		{"what may be missing", "private-tmp = true", "private-tmp = true\noptional = ['private-tmp']", true},
		{"orders", "capabilities = ['kill', 'chown']\nrestrict-address-families = ['unix', 'inet']\nread-only-paths = ['/usr', '/etc']\nbind-paths = ['/etc:/mnt', '/usr:/srv']",
			"capabilities = ['chown', 'kill']\nrestrict-address-families = ['inet', 'unix']\nread-only-paths = ['/etc', '/usr']\nbind-paths = ['/usr:/srv', '/etc:/mnt']", true},
		{"the order of system calls", "system-calls = ['@mount', '~mount']", "system-calls = ['~mount', '@mount']", false},
		{"the pool of a dynamic user", "dynamic-user = true", "dynamic-user = true\nuser-pool = '700000-701000'", false},
		{"the size of /tmp", "private-tmp = true", "private-tmp = true\nprivate-tmp-size = '1M'", false},
		{"no capabilities and all", "preset = 'basic'", "preset = 'basic'\ncapabilities = ['all']", false},
		{"no families and all", "preset = 'strict'\nrestrict-address-families = []", "preset = 'strict'\nrestrict-address-families = ['any']", false},
		{"a path that may be missing", "read-only-paths = ['/etc']", "read-only-paths = ['-/etc']", false},
	} {
		one, err := parseBox(t, c.one)
		if err != nil {
			t.Fatal(err)
		}
		other, err := parseBox(t, c.other)
		if err != nil {
			t.Fatal(err)
		}
		before := other.Box.SystemCalls
		if diff := cmp.Diff(one.Box.Effective(), other.Box.Effective()); (diff == "") != c.same {
			t.Errorf("%s: the same is %v, not %v\n%s", c.name, diff == "", c.same, diff)
		}
		if !slices.Equal(before, other.Box.SystemCalls) {
			t.Errorf("%s: the box has changed", c.name)
		}
	}
	// Every key that asks for something makes another box.
	strict := PresetBox(BoxStrict)
	for _, key := range missableKeys() {
		s, _ := parseBox(t, "preset = 'strict'\n"+key+" = "+samples[key].toml)
		if asks := boxValue(keyOf(key), s.Box) != boxValue(keyOf(key), &strict); asks == cmp.Equal(strict.Effective(), s.Box.Effective()) {
			t.Errorf("%s: makes another box: %v", key, !asks)
		}
	}
	// What means nothing here is no difference.
	idle := PresetBox(BoxNone)
	idle.UserPool, idle.PrivateTmpSize, idle.SystemCallsAction, idle.Optional = UserRange{1, 5}, 5, SystemCallsKill, []string{"nice"}
	if !idle.IsZero() {
		t.Errorf("%+v", idle.Effective())
	}
}

func keyOf(name string) boxKey {
	return boxKeys[slices.IndexFunc(boxKeys, func(k boxKey) bool { return k.name == name })]
}

// A list begins with that of a preset, and what follows is added to it or taken from it.
func TestSystemCallsOfPresets(t *testing.T) {
	for text, c := range map[string]struct {
		preset  BoxPreset
		changed string
		allowed bool
	}{
		`["@strict", "mincore", "setpriority"]`: {BoxStrict, "setpriority", true},
		`["@strict", "~socket"]`:                {BoxStrict, "socket", false},
		`["@basic", "mount"]`:                   {BoxBasic, "mount", true},
		`["@basic", "~socket"]`:                 {BoxBasic, "socket", false},
	} {
		s, err := parseBox(t, "preset = '"+string(c.preset)+"'\nsystem-calls = "+text)
		if err != nil {
			t.Fatal(err)
		}
		preset := PresetBox(c.preset)
		was, err := syscalls.Expand(preset.SystemCallList())
		if err != nil {
			t.Fatal(err)
		}
		is, err := syscalls.Expand(s.Box.SystemCallList())
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{c.changed, "read", "reboot", "keyctl", "fork"} {
			now, before := is.Decide(name) == syscalls.Allowed, was.Decide(name) == syscalls.Allowed
			if name == c.changed && (now != c.allowed || before == c.allowed) || name != c.changed && now != before {
				t.Errorf("%s allows %s: %v, and the preset: %v", text, name, now, before)
			}
		}
		printed, err := Parse("g", []byte(s.TOML()), Run{})
		if err != nil || !slices.Equal(printed.Services[0].Box.SystemCalls, s.Box.SystemCalls) {
			t.Errorf("%s is printed as %q, %v", text, printed.Services[0].Box.SystemCalls, err)
		}
	}
}
