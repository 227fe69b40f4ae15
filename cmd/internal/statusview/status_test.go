package statusview

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/preforkd/preforkd/cmd/internal/goldentest"
	"github.com/preforkd/preforkd/master/control"
)

// statusTime is the time of every status in these tests.
var statusTime = time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC)

// busy is the status of a master with some of everything.
func busy() control.Status {
	s := control.Status{Taken: statusTime}
	s.Master = control.Master{
		Version: "1.4.0", PID: 4711, Started: statusTime.Add(-3 * time.Hour), Uptime: 11100, State: "serving",
		LogLevel: "info", Config: "/etc/preforkd/preforkd.toml", Live: 261,
		Counts:     control.Counts{Accepted: 129_804, Refused: 1503, Failed: 2, Reaped: 128_038},
		Generation: 3, Upgrades: control.Upgrades{Count: 2, Failed: 1,
			Last:        &control.Upgrade{From: "1.3.9", To: "1.4.0", At: statusTime.Add(-2 * time.Hour), Duration: 0.23},
			LastFailure: &control.UpgradeFailure{At: statusTime.Add(-time.Minute), Step: "rehearsal", Reason: "the configuration has a key that is gone: \x1b[2Jslots", To: "1.5.0"}},
		UserTime: 61.2, SysTime: 92.4, RSS: 19_300_000, OpenFiles: 33,
		Problems: []control.Problem{
			{Service: "git", Reason: "no worker could be started for 12s: fork/exec /usr/bin/git: no such file or directory"},
			{Reason: "the configuration was not reloaded"},
		},
	}
	s.Services = []control.Service{
		{Name: "echo", Handler: "echo", Handoff: "worker", State: "serving", Live: 4, Limit: 256, Slots: 4,
			Counts:       control.Counts{Accepted: 1204, Reaped: 1200},
			Spares:       &control.Spares{Ready: 2, Starting: 1, Min: 2, Max: 8},
			Box:          &control.Box{Summary: "strict"},
			SpawnLatency: &control.Latency{P50: 0.00121, P99: 0.0049},
			Listeners:    []control.Listener{{Local: "127.0.0.1:7007", Queue: new(0), Backlog: new(4096)}, {Local: "unix:/run/preforkd/echo.sock"}}},
		{Name: "old", Handler: "/usr/bin/date", Handoff: "stdio", State: "draining", Live: 1, Limit: 10, Slots: 1,
			Counts: control.Counts{Accepted: 7, Reaped: 6}},
		{Name: "web", Handler: "/usr/lib/web/worker", Handoff: "worker", State: "serving", Live: 256, Limit: 256, Slots: 256,
			Counts:          control.Counts{Accepted: 128_591, Refused: 1503, Reaped: 126_832},
			RefusedByReason: map[string]uint64{"rate-per-source": 1500, "penalty": 3, "denied": 0},
			Sources:         88, Penalized: 1,
			SpawnLatency: &control.Latency{P50: 0.0021, P99: 0.0123},
			Listeners:    []control.Listener{{Local: "[::]:8080", Queue: new(17), Backlog: new(128)}}},
		{Name: "git", Handler: "/usr/bin/git", Handoff: "stdio", State: "serving", Limit: 20,
			Counts:        control.Counts{Accepted: 2, Failed: 2},
			FailedByCause: map[string]uint64{"spawn": 2},
			Box: &control.Box{Summary: "strict, private-tmp off, limit-nofile 64", Missing: []control.MissingKey{
				{Key: "private-network", Reason: "needs CAP_SYS_ADMIN, and no filter that forbids namespaces (unshare: operation not permitted): give it to the master"},
			}},
			Listeners: []control.Listener{{Local: "[::]:9418", Queue: new(0), Backlog: new(128)}}},
	}
	s.Connections = []control.Connection{
		{ID: "mwpr0gd0-1", Service: "echo", PID: 4720, Peer: "127.0.0.1:41090", Local: "127.0.0.1:7007", State: "serving", Version: "1.3.9",
			Age: 11000, CPU: new(0.0021), RSS: new(uint64(4_100_000)), BytesIn: new(uint64(6)), BytesOut: new(uint64(6))},
		{ID: "mwpr0gd0-7", Service: "echo", PID: 4722, Peer: "unix:uid=1000", Local: "unix:/run/preforkd/echo.sock", State: "serving",
			Age: 9000, CPU: new(0.0021), RSS: new(uint64(4_200_000))},
		{ID: "mwpr0gd0-129803", Service: "web", PID: 131072, Peer: "[2001:db8:85a3:1111:2222:8a2e:370:7334]:50312", Local: "[::]:8080", Via: "10.0.0.7:41002", State: "serving",
			Age: 63, CPU: new(48.3), RSS: new(uint64(512 << 20)), BytesIn: new(uint64(5 << 20)), BytesOut: new(uint64(3 << 30))},
		{ID: "mwpr0gd0-129804", Service: "web", PID: 131080, Peer: "\x1b]0;owned\a\x1b[2J\u009b31m", Local: "[::]:8080", State: "assigned", Age: 0.004},
	}
	return s
}

// manyConnections is the status of a master with very many connections.
func manyConnections() control.Status {
	s := busy()
	s.Connections = nil
	for i := range 3000 {
		s.Connections = append(s.Connections, control.Connection{
			ID: fmt.Sprintf("mwpr0gd0-%d", i), Service: "web", PID: 5000 + i, Peer: fmt.Sprintf("10.0.%d.%d:40000", i/250, i%250),
			State: "serving", Age: float64(3000 - i), CPU: new(float64(i % 7)), RSS: new(uint64(i) << 10),
		})
	}
	return s
}

// empty is the status of a master that has just started and has no services.
func empty() control.Status {
	return control.Status{Taken: statusTime, Master: control.Master{Version: "dev", PID: 1, State: "serving", LogLevel: "debug", RSS: 12 << 20, OpenFiles: 9}}
}

func render(t testing.TB, s control.Status, width int) string {
	t.Helper()
	var out strings.Builder
	if err := Write(&out, s, width); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestStatus(t *testing.T) {
	for name, test := range map[string]struct {
		status control.Status
		width  int
	}{
		"busy-60": {busy(), 60}, "busy-80": {busy(), 80}, "busy-132": {busy(), 132}, "busy-wide": {busy(), 0},
		"empty-80": {empty(), 80}, "empty-20": {empty(), 20},
	} {
		goldentest.Compare(t, name, render(t, test.status, test.width))
	}
}

// A failure is told of until an upgrade has succeeded, also where its version is unknown.
func TestUpgradeLines(t *testing.T) {
	last := &control.Upgrade{From: "1", To: "2", At: statusTime.Add(-time.Hour), Duration: 0.5}
	failure := func(age time.Duration) *control.UpgradeFailure {
		return &control.UpgradeFailure{At: statusTime.Add(-age), Step: "binary", Reason: "no such file"}
	}
	const upgraded, failed = "upgraded from 1 to 2 1h00m ago, in 500ms", "not upgraded 1m00s ago: binary: no such file"
	for _, c := range []struct {
		upgrades control.Upgrades
		want     []string
	}{
		{control.Upgrades{}, nil},
		{control.Upgrades{Last: last}, []string{upgraded}},
		{control.Upgrades{LastFailure: failure(time.Minute)}, []string{failed}},
		{control.Upgrades{Last: last, LastFailure: failure(time.Minute)}, []string{upgraded, failed}},
		{control.Upgrades{Last: last, LastFailure: failure(2 * time.Hour)}, []string{upgraded}},
	} {
		s := control.Status{Taken: statusTime, Master: control.Master{Upgrades: c.upgrades}}
		if got := upgradeLines(s, 0); !slices.Equal(got, c.want) {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestStatusManyConnections(t *testing.T) {
	s := manyConnections()
	lines := strings.Split(strings.TrimSuffix(render(t, s, 80), "\n"), "\n")
	heading := 0
	for i, line := range lines {
		if strings.HasPrefix(line, "CONN ") {
			heading = i
		}
	}
	if rows := lines[heading+1:]; len(rows) != len(s.Connections) {
		t.Errorf("%d rows for %d connections", len(rows), len(s.Connections))
	}
	// The first row is the oldest connection of those that used most CPU.
	if first := lines[heading+1]; !strings.HasPrefix(first, "mwpr0gd0-6 ") {
		t.Errorf("the first row is %q", first)
	}
}

// Write must not sort the caller's slices.
func TestStatusInputIsUnchanged(t *testing.T) {
	s := busy()
	render(t, s, 80)
	if diff := cmp.Diff(busy(), s); diff != "" {
		t.Errorf("changed:\n%s", diff)
	}
}

type brokenWriter struct{}

var errBroken = errors.New("broken pipe")

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestStatusWriteError(t *testing.T) {
	if err := Write(brokenWriter{}, manyConnections(), 80); !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
}

// The output has only printable characters, and no line is wider than the terminal,
// whatever the status contains.
func TestStatusFitsAndIsPrintable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
			"\x1b[2J", "a b", "\r\n", "名前", "x\u0301\u0301", "\xff\xfe", "\u202e",
		}), rapid.StringN(100, 300, -1))
		s := busy()
		s.Master.Version, s.Master.State = text.Draw(t, "version"), text.Draw(t, "state")
		s.Master.Config, s.Master.LogLevel = text.Draw(t, "config"), text.Draw(t, "level")
		s.Master.Uptime = rapid.Float64().Draw(t, "uptime")
		for i := range s.Master.Problems {
			s.Master.Problems[i] = control.Problem{Service: text.Draw(t, "service"), Reason: text.Draw(t, "reason")}
		}
		for i := range s.Services {
			v := &s.Services[i]
			v.Name, v.Handler, v.State = text.Draw(t, "name"), text.Draw(t, "handler"), text.Draw(t, "state")
			v.Listeners = append(v.Listeners, control.Listener{Local: text.Draw(t, "local")})
			v.RefusedByReason = map[string]uint64{text.Draw(t, "refused"): rapid.Uint64().Draw(t, "number")}
			v.FailedByCause = map[string]uint64{text.Draw(t, "failed"): rapid.Uint64().Draw(t, "number")}
		}
		for i := range s.Connections {
			c := &s.Connections[i]
			c.ID, c.Peer, c.Service, c.Via = text.Draw(t, "id"), text.Draw(t, "peer"), text.Draw(t, "of"), text.Draw(t, "via")
			c.State, c.CPU = text.Draw(t, "state"), new(rapid.Float64().Draw(t, "cpu"))
		}
		width := rapid.IntRange(0, 200).Draw(t, "width")
		var out strings.Builder
		if err := Write(&out, s, width); err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(out.String(), "\n") {
			if width > 0 && Width(line) > width {
				t.Fatalf("a line of %d cells for a width of %d: %q", Width(line), width, line)
			}
			for _, r := range line {
				if !unicode.IsPrint(r) {
					t.Fatalf("%q holds %U", line, r)
				}
			}
		}
	})
}
