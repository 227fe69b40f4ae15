package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// parseBox parses a service with a program and a box, whose first key is in line
// 5.
func parseBox(t *testing.T, box string) (Service, error) {
	t.Helper()
	c, err := Parse("f", []byte("[service.a]\nlisten = [':1']\nprogram = ['/bin/cat']\n[service.a.box]\n"+box), Run{})
	if len(c.Services) != 1 {
		t.Fatalf("%d services: %v", len(c.Services), err)
	}
	return c.Services[0], err
}

func TestPresets(t *testing.T) {
	none, basic, strict := PresetBox(BoxNone), PresetBox(BoxBasic), PresetBox(BoxStrict)
	if !none.IsZero() || basic.IsZero() || strict.IsZero() || !new(Box).IsZero() {
		t.Error("only none asks for nothing")
	}
	if !basic.NoNewPrivileges || basic.Capabilities == nil || len(basic.Capabilities) > 0 || basic.SystemCalls[0] != "~@clock" ||
		!basic.RestrictNamespaces || !basic.RestrictRealtime || !basic.RestrictSUIDSGID || !basic.LockPersonality || basic.MemoryDenyWriteExecute ||
		basic.RestrictAddressFamilies != nil || basic.PrivateNetwork || basic.PrivateTmp || basic.DynamicUser || basic.ProtectSystem != ProtectSystemNo ||
		!reflect.DeepEqual(basic.Limits, map[string]Limit{"core": {}}) {
		t.Errorf("basic is %+v", basic)
	}
	for name, on := range map[string]bool{
		"private-network": strict.PrivateNetwork, "private-ipc": strict.PrivateIPC, "protect-hostname": strict.ProtectHostname,
		"private-pids": strict.PrivatePIDs, "private-tmp": strict.PrivateTmp, "private-devices": strict.PrivateDevices, "protect-proc": strict.ProtectProc,
		"protect-home": strict.ProtectHome, "protect-kernel": strict.ProtectKernel, "dynamic-user": strict.DynamicUser,
	} {
		if !on {
			t.Errorf("strict lacks %s", name)
		}
	}
	if !slices.Equal(strict.RestrictAddressFamilies, []string{"unix"}) || strict.ProtectSystem != ProtectSystemStrict || strict.MemoryDenyWriteExecute ||
		!reflect.DeepEqual(strict.Limits, map[string]Limit{"core": {}, "nofile": {256, 256}}) || strict.SystemCalls[0] != "@system-service" {
		t.Errorf("strict is %+v", strict)
	}
	for _, b := range []Box{none, basic, strict} {
		if b.UsesCgroup() || b.UserPool != (UserRange{61184, 61439}) || b.PrivateTmpSize != 64<<20 || b.SystemCallsAction != SystemCallsErrno {
			t.Errorf("%s is %+v", b.Preset, b)
		}
	}
	// Who changes a box changes no preset.
	strict.Limits["core"], strict.SystemCalls[0], strict.RestrictAddressFamilies[0] = Limit{1, 1}, "x", "x"
	if again := PresetBox(BoxStrict); again.Limits["core"] != (Limit{}) || again.SystemCalls[0] == "x" || again.RestrictAddressFamilies[0] == "x" {
		t.Error("a preset has changed")
	}
}

// Without a table, services have the box of their default preset, and their text
// has no table.
func TestDefaultBox(t *testing.T) {
	for _, text := range []string{minimal, "[service.a]\nlisten = [':1']\nprogram = ['/bin/cat']\n"} {
		c, err := Parse("f", []byte(text+worker(t)), Run{})
		if err != nil {
			t.Fatal(err)
		}
		want := PresetBox(DefaultProgramBox)
		if c.Services[0].Handler != "" {
			want = c.Services[0].defaultBox()
		}
		if diff := cmp.Diff(want, *c.Services[0].Box); diff != "" || strings.Contains(c.TOML(), "box") {
			t.Errorf("%s\n%s", diff, c.TOML())
		}
	}
}

// Two keys of the box are other names of what the service has.
func TestBoxSharedKeys(t *testing.T) {
	s, err := parseBox(t, "runtime-max = '5m'\noom-score-adjust = 7\n")
	if err != nil {
		t.Fatal(err)
	}
	if s.MaxLifetime.String() != "5m0s" || s.OOMScoreAdjust != (OptionalInt{true, 7}) || !s.Box.IsZero() {
		t.Errorf("%v, %+v, %+v", s.MaxLifetime, s.OOMScoreAdjust, s.Box)
	}
	c, err := FromFlags(map[string][]string{"box-runtime-max": {"5m"}, "box-oom-score-adjust": {"7"}}, "", []string{"/bin/cat"}, Run{})
	if err != nil || c.Services[0].MaxLifetime != s.MaxLifetime || c.Services[0].OOMScoreAdjust != s.OOMScoreAdjust {
		t.Errorf("%v, %+v", err, c)
	}
}

// require is optional the other way round.
func TestBoxRequire(t *testing.T) {
	s, err := parseBox(t, "require = ['private-network', 'private-ipc']\nprivate-network = true\nprivate-tmp = true\nlimit-nofile = 5\n")
	if want := []string{"private-tmp", "limit-nofile"}; err != nil || !slices.Equal(s.Box.Optional, want) {
		t.Errorf("%v, optional are %q, want %q", err, s.Box.Optional, want)
	}
	if s, err = parseBox(t, "preset = 'strict'\n"); err != nil || s.Box.Optional != nil {
		t.Errorf("%v, optional are %q", err, s.Box.Optional)
	}
}

// The names stand for what the kernel's headers say.
func TestBoxNumbers(t *testing.T) {
	for name, want := range map[string]int{"cpu": 0, "fsize": 1, "data": 2, "stack": 3, "core": 4, "rss": 5, "nproc": 6, "nofile": 7,
		"memlock": 8, "as": 9, "locks": 10, "sigpending": 11, "msgqueue": 12, "nice": 13, "rtprio": 14, "rttime": 15} {
		if n, ok := LimitResource(name); !ok || n != want {
			t.Errorf("limit %s is %d, want %d", name, n, want)
		}
	}
	if len(limitResources) != 16 || len(limitKeys()) != 16 {
		t.Errorf("%d resources and %d keys", len(limitResources), len(limitKeys()))
	}
	for name, want := range map[string]int{"chown": 0, "setpcap": 8, "net_bind_service": 10, "sys_admin": 21, "sys_resource": 24, "setfcap": 31, "syslog": 34, "checkpoint_restore": 40} {
		if n, ok := CapabilityNumber(name); !ok || n != want {
			t.Errorf("capability %s is %d, want %d", name, n, want)
		}
	}
	for name, want := range map[string]int{"unix": 1, "inet": 2, "inet6": 10, "netlink": 16, "packet": 17, "vsock": 40} {
		if n, ok := AddressFamily(name); !ok || n != want {
			t.Errorf("family %s is %d, want %d", name, n, want)
		}
	}
	_, limit := LimitResource("files")
	_, capability := CapabilityNumber("CAP_CHOWN")
	_, family := AddressFamily("")
	if limit || capability || family {
		t.Error("names that do not exist are known")
	}
}

func TestBoxSummary(t *testing.T) {
	for text, want := range map[string]string{
		"":                  "none",
		"preset = 'strict'": "strict",
		"preset = 'basic'\nprivate-tmp = true\nlimit-core = ''\nmemory-max = '65536K'": "basic, private-tmp on, limit-core unset, memory-max 64M",
		"preset = 'strict'\nprivate-network = false\nsystem-calls = []":                "strict, system-calls changed, private-network off",
	} {
		if s, err := parseBox(t, text); err != nil || s.Box.Summary() != want {
			t.Errorf("%s: %q, %v, want %q", text, s.Box.Summary(), err, want)
		}
	}
	if got := new(Box).Summary(); got != "none" {
		t.Errorf("no box is %q", got)
	}
}

// What a service is exposed to gets less with a better box, and the line says
// which is better.
func TestExposure(t *testing.T) {
	left := len(exposures) + 1
	for _, preset := range []BoxPreset{BoxNone, BoxBasic, BoxStrict} {
		s, err := parseBox(t, fmt.Sprintf("preset = '%s'\n", preset))
		if err != nil {
			t.Fatal(err)
		}
		line, open := s.Exposure(), s.Box.open()
		if len(open) >= left {
			t.Errorf("%s leaves %d, the one before it %d", preset, len(open), left)
		}
		left = len(open)
		for _, to := range open {
			if !strings.Contains(line, to) {
				t.Errorf("%s: %q is not in %q", preset, to, line)
			}
		}
		for _, better := range []BoxPreset{BoxBasic, BoxStrict} {
			helps := preset == BoxNone || preset == BoxBasic && better == BoxStrict
			if helps != strings.Contains(line, "; preset "+string(better)+" would close ") {
				t.Errorf("%s: %s", preset, line)
			}
		}
		if strings.Contains(line, "\n") {
			t.Errorf("several lines: %q", line)
		}
	}
	s, err := parseBox(t, "preset = 'strict'\nmemory-max = '1G'\nservice-tasks-max = 1000\n")
	if want := "box strict leaves open nothing that a box can close"; err != nil || s.Exposure() != want {
		t.Errorf("%q, %v", s.Exposure(), err)
	}
	if !s.Box.UsesCgroup() {
		t.Error("no cgroup for limits of memory")
	}
}
