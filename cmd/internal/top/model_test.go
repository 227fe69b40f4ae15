package top

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	tea "charm.land/bubbletea/v2"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/preforkd/preforkd/cmd/internal/goldentest"
	"github.com/preforkd/preforkd/cmd/internal/statusview"
	"github.com/preforkd/preforkd/master/control"
)

// masterStart is the start of the master in these tests.
var masterStart = time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC)

// statusAt returns the status of a master some seconds after its start. It has one
// connection for each second so far, up to a dozen.
func statusAt(seconds int) control.Status {
	taken := masterStart.Add(time.Duration(seconds) * time.Second)
	s := control.Status{Taken: taken}
	s.Master = control.Master{
		Version: "1.4.0", PID: 4711, Started: masterStart, Uptime: float64(seconds), State: "serving", LogLevel: "info",
		Counts: control.Counts{Accepted: uint64(20 * seconds), Refused: uint64(seconds), Reaped: uint64(seconds)},
		RSS:    19_300_000, OpenFiles: 33, UserTime: 0.1 * float64(seconds), SysTime: 0.05 * float64(seconds),
	}
	s.Services = []control.Service{
		{Name: "echo", Handler: "echo", State: "serving", Live: 8, Limit: 256, Slots: 8, Counts: control.Counts{Accepted: uint64(15 * seconds)},
			SpawnLatency: &control.Latency{P50: 0.0012, P99: 0.0049},
			Spares:       &control.Spares{Ready: 2, Min: 2, Max: 8},
			Listeners:    []control.Listener{{Local: "127.0.0.1:7007", Queue: new(0), Backlog: new(4096)}}},
		{Name: "git", Handler: "/usr/bin/git", State: "serving", Live: 4, Limit: 4, Slots: 4, Counts: control.Counts{Accepted: uint64(5 * seconds)},
			Listeners: []control.Listener{{Local: "[::]:9418", Queue: new(3), Backlog: new(128)}}},
	}
	for i := range min(seconds, 12) {
		age := seconds - i
		service := s.Services[i/8].Name
		c := control.Connection{
			ID: fmt.Sprintf("mwpr0gd0-%d", i+1), Service: service, PID: 5000 + i, State: "serving",
			Peer: fmt.Sprintf("10.0.0.%d:%d", 200-10*i, 40000+i), Local: "127.0.0.1:7007",
			Since: masterStart.Add(time.Duration(i) * time.Second), Age: float64(age),
			CPU: new(float64(age*(i%5)) / 10), RSS: new(uint64(4+i%3) << 20),
			BytesIn: new(uint64(age * i * 1000)), BytesOut: new(uint64(age)),
		}
		s.Connections = append(s.Connections, c)
	}
	s.Master.Live = uint64(len(s.Connections))
	return s
}

// A fixedSource returns the status and the error that a test has set.
type fixedSource struct {
	status control.Status
	err    error
	killed []string
}

func (s *fixedSource) Status(context.Context) (control.Status, error) { return s.status, s.err }

func (s *fixedSource) Kill(_ context.Context, conn, signal string) error {
	s.killed = append(s.killed, conn+" "+signal)
	return s.err
}

// A modelTest is a model without Bubble Tea.
type modelTest struct {
	*model
	t      rapid.TB
	source *fixedSource
}

func newSession(t rapid.TB, width, height int) *modelTest {
	s := &modelTest{t: t, source: &fixedSource{}}
	s.model = newModel(context.Background(), s.source, time.Hour)
	s.Update(tea.WindowSizeMsg{Width: width, Height: height})
	return s
}

// at fetches the status some seconds after the master's start.
func (s *modelTest) at(seconds int) {
	s.source.status = statusAt(seconds)
	s.Update(s.fetchStatus()())
}

// press presses keys, by Bubble Tea's names, and runs the resulting commands.
func (s *modelTest) press(names ...string) {
	s.t.Helper()
	special := map[string]rune{
		"up": tea.KeyUp, "down": tea.KeyDown, "pgup": tea.KeyPgUp, "pgdown": tea.KeyPgDown,
		"home": tea.KeyHome, "end": tea.KeyEnd, "esc": tea.KeyEscape, "enter": tea.KeyEnter, "backspace": tea.KeyBackspace,
	}
	for _, name := range names {
		key := tea.KeyPressMsg{Code: []rune(name)[0], Text: name}
		if code, ok := special[name]; ok {
			key = tea.KeyPressMsg{Code: code}
		} else if name == "space" {
			key = tea.KeyPressMsg{Code: tea.KeySpace, Text: " "}
		}
		if key.String() != name {
			s.t.Fatalf("key %q is called %q", name, key.String())
		}
		if _, command := s.Update(key); command != nil {
			s.Update(command())
		}
	}
}

// text returns the frame without its attributes.
func (s *modelTest) text() string {
	var lines []string
	for _, l := range s.frame() {
		lines = append(lines, l.text)
	}
	return strings.Join(lines, "\n") + "\n"
}

func (s *modelTest) golden(name string) {
	s.t.Helper()
	goldentest.Compare(s.t, name, s.text())
}

func (s *modelTest) order() []string {
	var ids []string
	for _, c := range s.rows {
		ids = append(ids, strings.TrimPrefix(c.ID, "mwpr0gd0-"))
	}
	return ids
}

func (s *modelTest) want(what string, got any, want any) {
	s.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestFrame(t *testing.T) {
	s := newSession(t, 120, 24)
	s.golden("begin")
	s.at(60)
	s.golden("first")
	s.at(62)
	s.golden("second")
	s.press("down", "down")
	s.golden("chosen")
	s.press("K")
	s.golden("question")
	s.press("n")
	s.Update(tea.WindowSizeMsg{Width: 60, Height: 16})
	s.golden("narrow")
	s.press("/", "4", "0", "0", "0", "9")
	s.golden("filter")
}

func TestOrder(t *testing.T) {
	s := newSession(t, 80, 24)
	s.at(6)
	for _, test := range []struct {
		keys []string
		want string
	}{
		{nil, "5 4 3 2 1 6"},
		{[]string{"a"}, "1 2 3 4 5 6"},
		{[]string{"r"}, "6 5 4 3 2 1"},
		{[]string{"p"}, "6 5 4 3 2 1"}, // another sort key resets the reversal
		{[]string{"m"}, "3 6 2 5 1 4"},
		{[]string{"b"}, "4 3 5 2 6 1"},
		{[]string{"c", "r"}, "6 1 2 3 4 5"},
	} {
		s.press(test.keys...)
		s.want(fmt.Sprint(test.keys), strings.Join(s.order(), " "), test.want)
	}
}

// Peers are sorted by address and not by text.
func TestOrderOfPeers(t *testing.T) {
	s := newSession(t, 80, 24)
	s.source.status = statusAt(4)
	for i, peer := range []string{"10.0.0.10:1", "unix:uid=0", "10.0.0.9:2", "[2001:db8::1]:5"} {
		s.source.status.Connections[i].Peer = peer
	}
	s.Update(s.fetchStatus()())
	s.press("p")
	s.want("order", strings.Join(s.order(), " "), "2 3 1 4")
}

func TestFilter(t *testing.T) {
	s := newSession(t, 80, 24)
	s.at(12)
	s.press("/", "G", "i", "q")
	s.want("a filter that nothing matches", len(s.rows), 0)
	s.press("backspace", "t", "enter")
	s.want("a filter by service", len(s.rows), 4)
	s.press("q") // a command key again, not text
	s.at(13)
	s.want("after the next look", len(s.rows), 4)
	s.press("esc")
	s.want("without a filter", len(s.rows), 12)
	s.press("/", "x", "esc")
	s.want("a filter given up", s.filter, "")
	s.press("/")
	s.Update(tea.PasteMsg{Content: "40003\x1b[2J\n"})
	s.want("what is pasted", s.filter, "40003[2J")
	s.Update(tea.PasteMsg{Content: strings.Repeat("x", 1000)})
	s.want("too much pasted", s.filter, "40003[2J")
}

func TestServiceFocus(t *testing.T) {
	s := newSession(t, 80, 24)
	s.at(12)
	var shown []int
	for range 4 {
		shown = append(shown, len(s.rows))
		s.press("s")
	}
	s.want("connections", shown, []int{12, 8, 4, 12})
	// The service was removed by a reload.
	s.source.status = statusAt(13)
	s.source.status.Services = nil
	s.Update(s.fetchStatus()())
	s.press("s")
	s.want("focus", s.service, "")
}

// The selection follows its connection. When the connection ends, its neighbour is
// selected.
func TestSelection(t *testing.T) {
	s := newSession(t, 80, 24)
	s.at(6)
	s.press("a", "down", "down")
	s.want("chosen", s.selectedConnection().ID, "mwpr0gd0-3")
	s.press("r")
	s.want("chosen after another order", s.selectedConnection().ID, "mwpr0gd0-3")
	s.press("r")
	s.source.status.Connections = slices.Delete(s.source.status.Connections, 2, 3)
	s.Update(s.fetchStatus()())
	s.want("chosen after its end", s.selectedConnection().ID, "mwpr0gd0-4")
	s.press("end")
	s.want("the last", s.selectedConnection().ID, "mwpr0gd0-6")
	s.press("down", "pgdown")
	s.want("beyond the last", s.selectedConnection().ID, "mwpr0gd0-6")
	s.press("home", "up", "pgup")
	s.want("before the first", s.cursor, 0)
	s.press("r")
	s.want("the first is whichever is first", s.selectedConnection().ID, "mwpr0gd0-6")
	s.source.status.Connections = nil
	s.Update(s.fetchStatus()())
	s.press("k", "down", "end", "pgup")
	if s.selectedConnection() != nil || s.confirm != nil {
		t.Errorf("chosen of none: %v, %v", s.selectedConnection(), s.confirm)
	}
}

func TestKill(t *testing.T) {
	s := newSession(t, 80, 24)
	s.at(6)
	s.press("a", "down", "k")
	s.want("before an answer", s.source.killed, []string(nil))
	// The question stays about the same connection, whatever rows move meanwhile.
	s.at(7)
	s.press("n", "K", "q", "k", "esc", "K")
	s.want("without a yes", s.source.killed, []string(nil))
	s.press("y")
	s.want("after a yes", s.source.killed, []string{"mwpr0gd0-2 KILL"})
	s.want("notice", s.notice, "sent SIGKILL to connection mwpr0gd0-2")
	s.source.err = errors.New("not allowed:\x1b[2J")
	s.press("k", "y")
	s.want("a refusal", s.notice, `connection mwpr0gd0-2 got no SIGTERM: "not allowed:\x1b[2J"`)
	s.press("down")
	s.want("notice after the next key", s.notice, "")
}

func TestPause(t *testing.T) {
	s := newSession(t, 80, 24)
	s.at(6)
	underWay := s.fetchStatus()
	s.press("space")
	if _, command := s.Update(pollMsg{0}); command != nil {
		t.Error("it looks in a pause")
	}
	s.source.status = statusAt(9)
	s.Update(underWay())
	s.want("look in a pause", len(s.rows), 6)
	s.source.status = statusAt(10)
	s.press("space") // requests a status at once
	s.want("look after the pause", len(s.rows), 10)
	if _, command := s.Update(pollMsg{0}); command != nil {
		t.Error("the round before the pause goes on beside the one after it")
	}
	if _, command := s.Update(pollMsg{2}); command == nil {
		t.Error("no look follows after the pause")
	}
}

func TestMasterGoesAway(t *testing.T) {
	s := newSession(t, 80, 24)
	s.source.err = errors.New("dial /run/preforkd/control.sock: connection refused")
	_, next := s.Update(s.fetchStatus()())
	if next == nil {
		t.Error("it does not look again")
	}
	if text := s.text(); !strings.Contains(text, "NO ANSWER") || !strings.Contains(text, "connection refused") {
		t.Errorf("at first:\n%s", text)
	}
	s.source.err = nil
	s.at(6)
	if text := s.text(); strings.Contains(text, "NO ANSWER") {
		t.Errorf("with an answer:\n%s", text)
	}
	s.source.err = errors.New("EOF")
	s.Update(s.fetchStatus()())
	if text := s.text(); !strings.Contains(text, "NO ANSWER since") || !strings.Contains(text, "mwpr0gd0-6") {
		t.Errorf("the last look is not shown:\n%s", text)
	}
	s.source.err = nil
	s.at(7)
	if text := s.text(); strings.Contains(text, "NO ANSWER") || !strings.Contains(text, "mwpr0gd0-7") {
		t.Errorf("back again:\n%s", text)
	}
}

func TestRates(t *testing.T) {
	a, b := statusAt(10), statusAt(12)
	r := computeRates(a, b)
	if r.accepted != 20 || r.refused != 1 || r.services["git"] != 5 || r.out != 10 {
		t.Errorf("got %+v", r)
	}
	if load := r.connections["mwpr0gd0-4"]; load < 0.299 || load > 0.301 {
		t.Errorf("a load of %v", load)
	}
	if _, ok := r.connections["mwpr0gd0-12"]; ok {
		t.Error("a connection that was not there has a load")
	}
	for name, change := range map[string]func(*control.Status){
		"another master":    func(s *control.Status) { s.Master.PID++ },
		"the same pid anew": func(s *control.Status) { s.Master.Started = s.Taken },
		"no time between":   func(s *control.Status) { s.Taken = a.Taken },
	} {
		other := statusAt(12)
		change(&other)
		if computeRates(a, other).known {
			t.Errorf("%s: rates are known", name)
		}
	}
	b.Services[0].Accepted = 0
	if got := computeRates(a, b).services["echo"]; got != 0 {
		t.Errorf("a service that counts anew has a rate of %v", got)
	}
}

func TestScrollOffset(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows, room := rapid.IntRange(0, 50).Draw(t, "rows"), rapid.IntRange(-2, 20).Draw(t, "room")
		cursor := rapid.IntRange(0, max(0, rows-1)).Draw(t, "cursor")
		offset := scrollOffset(rapid.IntRange(0, 60).Draw(t, "offset"), cursor, rows, room)
		room = max(room, 1)
		if offset < 0 || cursor < offset || cursor >= offset+room {
			t.Fatalf("cursor %d is not among the %d rows from %d", cursor, room, offset)
		}
		if offset > 0 && offset+room > rows {
			t.Fatalf("room is left below %d rows from %d", rows, offset)
		}
	})
}

// The frame fills the terminal for any keys and any size. No line is too long, and all
// characters are printable.
func TestFrameFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSession(t, rapid.IntRange(1, 150).Draw(t, "width"), rapid.IntRange(1, 50).Draw(t, "height"))
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "kind") {
			case 0:
				s.source.status = statusAt(rapid.IntRange(0, 15).Draw(t, "at"))
				for i := range s.source.status.Connections {
					s.source.status.Connections[i].Peer = rapid.String().Draw(t, "peer")
				}
				s.source.err = rapid.SampledFrom([]error{nil, nil, errors.New("gone\n")}).Draw(t, "error")
				s.Update(s.fetchStatus()())
			default:
				name := rapid.SampledFrom(strings.Fields("up down pgup pgdown home end esc enter backspace k K y n a c m b p r s / x 1 space")).Draw(t, "key")
				s.press(name)
			}
			lines := s.frame()
			if len(lines) != s.height {
				t.Fatalf("%d lines on a terminal of %d", len(lines), s.height)
			}
			for _, l := range lines {
				if statusview.Width(l.text) > s.width {
					t.Fatalf("%d cells on a terminal of %d: %q", statusview.Width(l.text), s.width, l.text)
				}
				if strings.ContainsFunc(l.text, func(r rune) bool { return !unicode.IsPrint(r) }) {
					t.Fatalf("not printable: %q", l.text)
				}
			}
		}
	})
}

func BenchmarkFrame(b *testing.B) {
	s := newSession(b, 120, 50)
	s.source.status = statusAt(12)
	for i := range 3000 {
		c := s.source.status.Connections[i%12]
		c.ID = fmt.Sprint("mwpr0gd0-", i)
		s.source.status.Connections = append(s.source.status.Connections, c)
	}
	s.Update(s.fetchStatus()())
	for b.Loop() {
		s.frame()
	}
}
