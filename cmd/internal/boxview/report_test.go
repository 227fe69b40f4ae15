package boxview

import (
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/preforkd/preforkd/cmd/internal/goldentest"
	"github.com/preforkd/preforkd/master/config"
)

// strictBox is a strict box with some keys changed and some missing.
func strictReport() Report {
	b := config.PresetBox(config.BoxStrict)
	b.ReadWritePaths = []string{"/srv/git", "/var/lib/a-directory-with-a-long-name"}
	b.Capabilities = []string{"net_bind_service"}
	b.Cgroup.MemoryMax = 64 << 20
	b.Optional = []string{"private-network"}
	const admin = "needs CAP_SYS_ADMIN (unshare: operation not permitted): give it to the master"
	return Report{Service: "git", Box: b, As: "root", User: User{Root: true}, Missing: []Missing{
		{Key: "private-network", Reason: admin, Optional: true},
		{Key: "memory-max", Reason: "needs a cgroup to divide: start it as a systemd unit with Delegate=yes"},
		{Key: "private-ipc", Reason: admin},
		{Key: "protect-hostname", Reason: admin},
	}}
}

func TestReport(t *testing.T) {
	none := Report{Service: "cat", Box: config.PresetBox(config.BoxNone), As: "uid 1000"}
	for name, c := range map[string]struct {
		report Report
		width  int
	}{"strict-80": {strictReport(), 80}, "strict-wide": {strictReport(), 0}, "none-80": {none, 80}} {
		var out strings.Builder
		if err := c.report.Write(&out, c.width); err != nil {
			t.Fatal(err)
		}
		goldentest.Compare(t, name, out.String())
	}
	for width := 60; width <= 100; width++ {
		var out strings.Builder
		if err := strictReport().Write(&out, width); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("%d cells on a terminal with %d: %q", n, width, line)
			}
		}
	}
}

// The score goes from 10 to 0, and each weight counts when its key is turned off.
func TestExposure(t *testing.T) {
	root := User{Root: true}
	sum := 0.0
	for _, w := range Weights {
		sum += w.Points
	}
	none, strict := config.PresetBox(config.BoxNone), config.PresetBox(config.BoxStrict)
	all := strict
	all.MemoryDenyWriteExecute = true
	all.Cgroup = config.CgroupLimits{MemoryMax: 1 << 20, TasksMax: 10, CPUQuota: 50}
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 1e-9 {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	near("the sum of the weights", sum, 10)
	near("no box", Exposure(&none, root), 10)
	near("no box, another user", Exposure(&none, User{}), 9.6)
	near("everything closed", Exposure(&all, root), 0)
	for _, w := range Weights {
		less := all.Without(w.Key)
		got := Exposure(&less, root)
		// protect-proc closes nothing beside private-pids.
		want := w.Points
		if w.Key == "protect-proc" {
			want = 0
		} else if w.Key == "private-pids" {
			less = all.Without("protect-proc")
			less = less.Without(w.Key)
			got, want = Exposure(&less, root), want+0.2
		}
		near("without "+w.Key, got, want)
	}
	basic := config.PresetBox(config.BoxBasic)
	for _, c := range []struct {
		box  config.Box
		want string
	}{{all, "SAFE"}, {strict, "SAFE"}, {basic, "EXPOSED"}, {none, "UNSAFE"}} {
		if got := Level(Exposure(&c.box, root)); got != c.want {
			t.Errorf("%s is %s, want %s", c.box.Preset, got, c.want)
		}
	}
}

// What closes a part counts for the rest.
func TestPartlyOpen(t *testing.T) {
	for _, c := range []struct {
		key    string
		change func(*config.Box)
		want   float64
	}{
		{"system-calls", func(b *config.Box) { b.SystemCalls = []string{"~@mount"} }, 0.5},
		{"system-calls", func(b *config.Box) { b.SystemCalls = []string{"@system-service"} }, 0},
		{"system-calls", func(b *config.Box) { b.SystemCalls = []string{"@basic", "mount"} }, 0.5},
		{"protect-system", func(b *config.Box) { b.ReadOnlyPaths = []string{"/"} }, 0},
		{"system-calls", func(b *config.Box) { b.SystemCalls = []string{"@strict", "mincore"} }, 0},
		{"system-calls", func(b *config.Box) { b.SystemCalls, b.SystemCallsAction = []string{"read"}, config.SystemCallsLog }, 1},
		{"capabilities", func(b *config.Box) { b.Capabilities = []string{"net_bind_service"} }, 1. / 3},
		{"capabilities", func(b *config.Box) { b.Capabilities = []string{"kill", "sys_admin"} }, 1},
		{"restrict-address-families", func(b *config.Box) { b.RestrictAddressFamilies = []string{"unix", "inet6"} }, 0.5},
		{"restrict-address-families", func(b *config.Box) { b.RestrictAddressFamilies = []string{"packet"} }, 1},
		{"restrict-address-families", func(b *config.Box) { b.RestrictAddressFamilies = []string{} }, 0},
		{"protect-system", func(b *config.Box) { b.RootDirectory = "/srv" }, 1. / 3},
		{"protect-system", func(b *config.Box) { b.ProtectSystem, b.ReadWritePaths = config.ProtectSystemStrict, []string{"/srv"} }, 1. / 3},
		{"protect-home", func(b *config.Box) { b.RootDirectory = "/srv" }, 0},
		{"tasks-max", func(b *config.Box) {
			b.DynamicUser, b.Limits = true, map[string]config.Limit{"nproc": {Soft: 1, Hard: 1}}
		}, 0.5},
		{"tasks-max", func(b *config.Box) { b.ServiceCgroup.TasksMax = 5 }, 0},
		{"cpu-quota", func(b *config.Box) { b.CPUTimeMax = 5 }, 0},
	} {
		b := config.PresetBox(config.BoxNone)
		c.change(&b)
		w, ok := weightOf(c.key)
		if got := w.open(&b, User{}); !ok || got != c.want {
			t.Errorf("%s of %+v: %v open, want %v", c.key, b, got, c.want)
		}
	}
}

// Every key has a mechanism.
func TestMechanisms(t *testing.T) {
	none := config.PresetBox(config.BoxNone)
	settings := none.Settings()
	for _, s := range settings {
		if mechanism(s.Name) == "" {
			t.Errorf("%s has no mechanism", s.Name)
		}
	}
	if len(settings) < 50 {
		t.Errorf("only %d keys", len(settings))
	}
	for _, w := range Weights {
		if !cmp.Equal(1, strings.Count(" "+joined(settings)+" ", " "+w.Key+" ")) {
			t.Errorf("there is no key %s", w.Key)
		}
	}
}

func joined(settings []config.BoxSetting) string {
	var names []string
	for _, s := range settings {
		names = append(names, s.Name)
	}
	return strings.Join(names, " ")
}
