package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// A boxSample is a value of a key, other than in any preset.
type boxSample struct {
	toml    string
	flags   []string
	printed string // by the configuration, if not as toml
}

func one(text string) boxSample {
	return boxSample{toml: text, flags: []string{strings.Trim(text, "'")}}
}

// boxSamples has every key, in terms of which other keys make no sense.
func boxSamples(t *testing.T) map[string]boxSample {
	dir := t.TempDir()
	for _, path := range []string{"a", "b", "bin", "boot", "dev/mqueue", "lib", "mnt", "opt", "srv", "sys", "tmp", "var/lib/x", "var/tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, path), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// It is the program of all services here.
	if err := os.WriteFile(filepath.Join(dir, "bin/cat"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	return map[string]boxSample{
		"no-new-privileges":         {"true", []string{""}, ""},
		"capabilities":              {`["net_raw", "CAP_KILL"]`, []string{"net_raw", "CAP_KILL"}, `["net_raw", "kill"]`},
		"system-calls":              {`["~@mount", "bpf"]`, []string{"~@mount", "bpf"}, ""},
		"system-calls-action":       one("'kill'"),
		"restrict-namespaces":       one("true"),
		"restrict-realtime":         one("true"),
		"restrict-suid-sgid":        one("true"),
		"lock-personality":          one("true"),
		"memory-deny-write-execute": one("true"),
		"restrict-address-families": {`["AF_INET", "netlink"]`, []string{"AF_INET", "netlink"}, `["inet", "netlink"]`},
		"private-network":           one("true"),
		"private-ipc":               one("true"),
		"protect-hostname":          one("true"),
		"private-pids":              one("true"),
		"protect-system":            one("'strict'"),
		"read-write-paths":          {`["/var/lib/x"]`, []string{"/var/lib/x"}, ""},
		"read-only-paths":           {`["/srv", "/opt"]`, []string{"/srv", "/opt"}, ""},
		"inaccessible-paths":        {`["/boot"]`, []string{"/boot"}, ""},
		"bind-paths": {`["/etc:/a", "/usr:/b:ro", "/lib:/lib:rw", "/sys:ro"]`, []string{"/etc:/a", "/usr:/b:ro", "/lib:/lib:rw", "/sys:ro"},
			`["/etc:/a", "/usr:/b:ro", "/lib", "/sys:/sys:ro"]`},
		"root-directory":        one("'" + dir + "'"),
		"temporary-file-system": {`["/mnt"]`, []string{"/mnt"}, ""},
		"private-tmp":           one("true"),
		"private-tmp-size":      one("'1G'"),
		"private-devices":       one("true"),
		"protect-proc":          one("true"),
		"protect-home":          one("true"),
		"protect-kernel":        one("true"),
		"dynamic-user":          one("true"),
		"user-pool":             one("'700000-701000'"),

		"limit-nofile": one("'100:200'"), "limit-nproc": {"10", []string{"10"}, "'10'"}, "limit-as": one("'1G:infinity'"), "limit-cpu": one("'60'"),
		"limit-fsize": one("'1M'"), "limit-core": one("'infinity'"), "limit-stack": one("'8M'"), "limit-data": one("'16M'"),
		"limit-memlock": one("'0'"), "limit-rss": one("'1000'"), "limit-locks": one("'5'"), "limit-sigpending": one("'6'"),
		"limit-msgqueue": one("'7K'"), "limit-nice": one("'20'"), "limit-rtprio": one("'0'"), "limit-rttime": one("'1000000'"),

		"memory-max": one("'64M'"), "memory-high": one("'48M'"), "memory-swap-max": {"0", []string{"0"}, "'0'"}, "tasks-max": {"0x10", []string{"16"}, "'16'"},
		"cpu-quota": one("'50%'"), "cpu-weight": one("10"), "io-weight": one("20"),
		"service-memory-max": one("'1T'"), "service-memory-high": one("'1G'"), "service-memory-swap-max": one("'1K'"), "service-tasks-max": one("'1000'"),
		"service-cpu-quota": one("'200%'"), "service-cpu-weight": one("1"), "service-io-weight": one("10000"),

		"cpu-time-max": {"'10s'", []string{"10s"}, "'10s'"},
		"nice":         one("-5"),
		"cpu-affinity": {"'0,2-3,1,9'", []string{"0,2-3,1,9"}, "'0-3,9'"},
		"io-class":     one("'best-effort:7'"),
		"optional":     {`["private-network", "limit-nofile", "service-memory-max"]`, []string{"private-network", "limit-nofile", "service-memory-max"}, ""},
	}
}

// Every key of the box is read from a file and from a flag, and printed so that
// it means the same.
func TestBoxKeysRoundTrip(t *testing.T) {
	samples := boxSamples(t)
	for _, preset := range []BoxPreset{BoxNone, BoxBasic, BoxStrict} {
		t.Run(string(preset), func(t *testing.T) {
			// The preset has its effect wherever it stands.
			text, flags := "", map[string][]string{boxPrefix + "preset": {string(preset)}}
			var printed []string
			for _, k := range boxKeys {
				sample, ok := samples[k.name]
				switch {
				case k.name == "preset" || k.name == "require" || sharedKeys[k.name] != "":
					continue
				case !ok:
					t.Errorf("there is no sample of %s", k.name)
				}
				text += k.name + " = " + sample.toml + "\n"
				flags[boxPrefix+k.name] = sample.flags
				if sample.flags[0] == "" {
					flags[boxPrefix+k.name] = []string{"true"} // what a flag without a value is
				}
				if sample.printed == "" {
					sample.printed = sample.toml
				}
				printed = append(printed, k.name+" = "+strings.ReplaceAll(sample.printed, "'", `"`))
			}
			s, err := parseBox(t, text+"preset = '"+string(preset)+"'\n")
			if err != nil {
				t.Fatal(err)
			}
			toml := s.TOML()
			squeezed := strings.Join(strings.Fields(toml), " ") + " "
			for _, line := range append(printed, `preset = "`+string(preset)+`"`) {
				if !strings.Contains(squeezed, " "+line+" ") {
					t.Errorf("%s is not in\n%s", line, toml)
				}
			}
			again, err := Parse("g", []byte(toml), Run{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(s, again.Services[0], sameConfig...); diff != "" {
				t.Errorf("(-first +printed):\n%s", diff)
			}
			if twice := again.Services[0].TOML(); twice != toml {
				t.Errorf("printed again:\n%s", cmp.Diff(toml, twice))
			}
			checkParsedAlone(t, &s)
			byFlags, err := FromFlags(flags, "", []string{"/bin/cat"}, Run{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(s.Box, byFlags.Services[0].Box); diff != "" {
				t.Errorf("(-file +flags):\n%s", diff)
			}
		})
	}
}

// Each key alone makes another configuration than that without it, so that a
// reload notices it.
func TestBoxTakesPartInReload(t *testing.T) {
	plain, err := parseBox(t, "")
	if err != nil {
		t.Fatal(err)
	}
	for key, sample := range boxSamples(t) {
		// Some mean nothing alone; they are read all the same.
		if s, _ := parseBox(t, key+" = "+sample.toml+"\n"); s.TOML() == plain.TOML() {
			t.Errorf("%s makes no difference", key)
		}
	}
	for _, line := range []string{"preset = 'basic'", "runtime-max = '5s'", "oom-score-adjust = 5"} {
		if s, err := parseBox(t, line); err != nil || s.TOML() == plain.TOML() {
			t.Errorf("%s makes no difference: %v", line, err)
		}
	}
}

// What a preset restricts can be had back, in a file and by flags.
func TestBoxPresetUndone(t *testing.T) {
	undone := map[string][2]string{
		"capabilities": {`["all"]`, "all"}, "system-calls": {"[]", ""}, "restrict-address-families": {`["any"]`, "any"},
		"limit-core": {`""`, ""}, "limit-nofile": {`""`, ""}, "protect-system": {`"no"`, "no"},
	}
	for _, k := range boxKeys {
		if k.kind == kindBool {
			undone[k.name] = [2]string{"false", "false"}
		}
	}
	text, flags := "preset = 'strict'\n", map[string][]string{boxPrefix + "preset": {"strict"}}
	for key, value := range undone {
		text += key + " = " + value[0] + "\n"
		flags[boxPrefix+key] = []string{value[1]}
	}
	s, err := parseBox(t, text)
	if err != nil {
		t.Fatal(err)
	}
	byFlags, err := FromFlags(flags, "", []string{"/bin/cat"}, Run{})
	if err != nil {
		t.Fatal(err)
	}
	printed, err := Parse("g", []byte(s.TOML()), Run{})
	if err != nil {
		t.Fatal(err)
	}
	for where, b := range map[string]Box{"file": *s.Box, "flags": *byFlags.Services[0].Box, "printed": *printed.Services[0].Box} {
		if !b.IsZero() || b.Preset != BoxStrict {
			t.Errorf("%s: %+v", where, b)
		}
	}
}

// Whatever a key takes is printed so that it takes it again, for the same.
func FuzzBoxValues(f *testing.F) {
	for _, s := range []string{"64M", "infinity", "5:10", "1-5", "/a:/b:ro", "0-3,8", "realtime:3", "50%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			return // which no file can say
		}
		for _, k := range boxKeys {
			var errs ConfigErrors
			s, r := DefaultService(), reader{at: positions{}, errs: &errs}
			n := flagsNode(k.kind, k.list, []string{text})
			if k.decode(&r, &s, n); len(errs) > 0 {
				continue
			}
			printed, ok := k.format(&s)
			if !ok {
				continue
			}
			again := DefaultService()
			value, err := parseDocument("f", []byte("x = "+printed))
			if err != nil {
				t.Fatalf("%s %q: %v", k.name, printed, err)
			}
			if k.decode(&r, &again, value.entries["x"].value); len(errs) > 0 || !reflect.DeepEqual(s.Box, again.Box) {
				t.Errorf("%s %q prints as %s: %v", k.name, text, printed, errs)
			}
		}
	})
}
