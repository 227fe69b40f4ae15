package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// startRogue starts a master with spares of which one, the first to come, does
// what the steps say; see the program. The others serve as they should.
func startRogue(t *testing.T, flags string, steps ...string) *systest.Master {
	t.Helper()
	token := filepath.Join(systest.Dir(t), "token")
	if err := os.WriteFile(token, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	m := systest.Start(t, with("--handoff worker "+flags, append([]string{"--", systest.Program(t, "cmd/internal/systest/badworker"), token}, steps...)...)...)
	// Nobody has connected yet, so it is a spare that has it.
	systest.Until(t, "the bad worker among the spares", func() bool {
		_, err := os.Lstat(token)
		return errors.Is(err, os.ErrNotExist)
	}, nil)
	return m
}

// sparesFor returns how many spares a bad worker with these steps is one of. One that
// waits for a connection is alone, so that the first one is its.
func sparesFor(steps string) int {
	if strings.HasPrefix(steps, "ready wait") {
		return 1
	}
	return 2
}

// A worker that breaks the contract ends, with an event that says how, and
// nothing happens to the connections of the others. A connection that it has
// not said to have taken is not lost with it.
func TestContractBroken(t *testing.T) {
	t.Parallel()
	const serving = "ready wait taken line"
	for name, c := range map[string]struct {
		steps string
		error string // in the event of the worker's end
		lost  bool   // its connection ends with it
	}{
		"garbage first":             {"garbage hang", "malformed", false},
		"a short message":           {"short hang", "malformed", false},
		"an empty message":          {"empty hang", "empty message", false},
		"an oversized message":      {"oversized hang", "malformed", false},
		"an unknown message":        {"type hang", "unexpected type 200", false},
		"a descriptor first":        {"descriptors:1 hang", "descriptors", false},
		"many descriptors first":    {"descriptors:200 hang", "descriptors", false},
		"another version":           {"version hang", "other protocol version: 2, this side speaks 1", false},
		"a report first":            {"report hang", "unexpected report", false},
		"taken first":               {"taken hang", "unexpected taken", false},
		"an assignment":             {"assignment hang", "unexpected assignment", false},
		"a drain":                   {"drain hang", "unexpected drain", false},
		"ready twice":               {"ready ready hang", "unexpected ready", false},
		"garbage while idle":        {"ready garbage hang", "malformed", false},
		"a flood of ready":          {"flood:ready", "unexpected ready", false},
		"a flood of empty messages": {"ready flood:empty", "empty message", false},
		"garbage when assigned":     {"ready wait garbage hang", "malformed", true},
		"a report when assigned":    {"ready wait report hang", "unexpected report", true},
		"ready when assigned":       {"ready wait ready hang", "unexpected ready", true},
		"garbage while serving":     {serving + " garbage hang", "malformed", true},
		"garbage and exit":          {serving + " garbage exit:0", "malformed", true},
		"descriptors while serving": {serving + " descriptors:3 hang", "descriptors", true},
		"taken twice":               {serving + " taken hang", "unexpected taken", true},
		"ready while serving":       {serving + " ready hang", "unexpected ready", true},
		"two reports":               {serving + " report report hang", "unexpected report", true},
		"ready after the last":      {serving + " report ready hang", "unexpected ready", true},
		"a report cut short":        {serving + " cut hang", "cut short", true},
		"an impossible number":      {serving + " count:18446744073709551615 hang", "18446744073709551615 bytes in one direction, at most 9223372036854775807", true},
		"too many values":           {serving + " values:17 hang", "17 values", true},
		"an odd key":                {serving + ` value:"a\nb"_"x" hang`, "key", true},
		"a flood while serving":     {serving + " flood:empty", "empty message", true},
		"a flood of reports":        {serving + " flood:report", "unexpected report", true},
		"oversized while serving":   {serving + " oversized hang", "malformed", true},
		"version while serving":     {serving + " version hang", "other protocol version", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			steps := strings.Fields(c.steps)
			for i := range steps {
				steps[i] = strings.ReplaceAll(steps[i], "_", " ")
			}
			spares := sparesFor(c.steps)
			m := startRogue(t, fmt.Sprint("--spares ", spares), steps...)
			// One that ends at once may be reaped before it is heard; then its
			// end alone says it.
			broken := func(e systest.Event) bool {
				return e.Msg == systest.Broken || e.Msg == systest.Reaped && e.Error != ""
			}
			if !strings.HasPrefix(c.steps, "ready wait") {
				m.WaitFor(t, broken)
			} else {
				m.WaitSpares(t, spares)
			}
			lost := 0
			clients := m.DialAll(t, 3)
			for _, client := range clients {
				if err := client.TryEcho("hello\n"); err != nil {
					lost++
				}
			}
			said := m.WaitFor(t, broken)
			if !strings.Contains(said.Error, c.error) || strings.Contains(said.Error, "\n") {
				t.Errorf("want %q: %s", c.error, said.Line)
			}
			end := m.WaitFor(t, func(e systest.Event) bool { return e.Msg == systest.Reaped && e.PID == said.PID })
			if !strings.Contains(end.Error, c.error) || (end.Conn != "") != c.lost {
				t.Errorf("want %q, lost connection %t: %s", c.error, c.lost, end.Line)
			}
			for _, client := range clients {
				if client.Accepted(t).Conn == end.Conn {
					client.ExpectGone(t)
					continue
				}
				client.Echo(t, "still here\n")
				client.CloseWrite(t)
				client.ExpectEnd(t)
				if e := client.End(t); e.Code() != 0 || e.Error != "" || e.Reason != "eof" {
					t.Errorf("another's end: %s", e.Line)
				}
			}
			if !c.lost && lost > 0 || lost > 1 {
				t.Errorf("%d clients were not served", lost)
			}
			// The pool is as full as before, without waiting for a client.
			m.WaitSpares(t, spares)
			for _, e := range m.Events(broken) {
				if e.PID != said.PID {
					t.Errorf("another broke the contract: %s", e.Line)
				}
			}
		})
	}
}

// A worker that says nothing where it should say something is ended in time,
// and a connection that it had not taken goes to another.
func TestSilentWorker(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ steps, reason string }{
		"never ready":                {"hang", "starting"},
		"closes before it is ready":  {"close hang", "starting"},
		"never takes":                {"ready wait hang", "assigned"},
		"never reads":                {"ready hang", "assigned"},
		"closes when it is assigned": {"ready wait close hang", "assigned"},
		"closes when it is ready":    {"ready close hang", "broken"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spares := 2
			if c.reason == "assigned" {
				spares = 1
			}
			m := startRogue(t, fmt.Sprint("--spares ", spares), strings.Fields(c.steps)...)
			if c.reason == "assigned" {
				m.WaitSpares(t, spares)
			}
			clients := m.DialAll(t, 3)
			for _, client := range clients {
				client.Echo(t, "hello\n")
			}
			said := m.WaitFor(t, systest.Is(systest.Overdue))
			if said.Reason != c.reason || said.Signal != "SIGKILL" {
				t.Errorf("want reason %s: %s", c.reason, said.Line)
			}
			end := m.WaitFor(t, func(e systest.Event) bool { return e.Msg == systest.Reaped && e.PID == said.PID })
			if end.Signal != "SIGKILL" || end.Conn != "" {
				t.Errorf("want a connection that was not lost: %s", end.Line)
			}
			for _, client := range clients {
				client.Echo(t, "still here\n")
				client.Close()
				if e := client.End(t); e.Code() != 0 {
					t.Errorf("unexpected end: %s", e.Line)
				}
			}
		})
	}
}

// A worker that closes its channel while it serves has nothing more to say, and
// nobody needs it to: its connection goes on.
func TestChannelClosedWhileServing(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"close", "shut"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			m := startRogue(t, "--spares 1", "ready", "wait", "taken", "line", how, "serve", "exit:7")
			m.WaitSpares(t, 1)
			c := m.Dial(t)
			c.Echo(t, "hello\n")
			c.Echo(t, "and more\n")
			c.CloseWrite(t)
			c.ExpectEnd(t)
			if end := c.End(t); end.Code() != 7 || end.BytesIn != nil {
				t.Errorf("want exit code 7 and no count: %s", end.Line)
			}
		})
	}
}

// A worker that dies at any moment of the dialogue hurts nobody else, and only
// the connection that it has said to have.
func TestDeathInTheDialogue(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		steps string
		lost  bool
	}{
		"before it is ready":    {"die", false},
		"when it is ready":      {"ready die", false},
		"with the connection":   {"ready wait die", false},
		"when it has taken it":  {"ready wait taken die", true},
		"while it serves":       {"ready wait taken line die", true},
		"after its report":      {"ready wait taken line report die", true},
		"exits before ready":    {"exit:3", false},
		"exits when ready":      {"ready exit:3", false},
		"exits when assigned":   {"ready wait exit:3", false},
		"exits without a word":  {"ready wait taken line exit:3", true},
		"exits, ready for more": {"ready wait taken line report ready exit:3", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spares := sparesFor(c.steps)
			m := startRogue(t, fmt.Sprint("--spares ", spares), strings.Fields(c.steps)...)
			ended := func(e systest.Event) bool { return e.Msg == systest.Reaped && (e.Signal == "SIGKILL" || e.Code() == 3) }
			if strings.Contains(c.steps, "wait") {
				m.WaitSpares(t, spares)
			} else {
				m.WaitFor(t, ended)
			}
			clients := m.DialAll(t, 3)
			lost := 0
			for _, client := range clients {
				if err := client.TryEcho("hello\n"); err != nil {
					lost++
				}
			}
			end := m.WaitFor(t, ended)
			if (end.Conn != "") != c.lost || !c.lost && lost > 0 {
				t.Errorf("%d clients were not served: %s", lost, end.Line)
			}
			for _, client := range clients {
				if client.Accepted(t).Conn != end.Conn {
					client.Echo(t, "still here\n")
				}
				client.Close()
			}
			m.WaitSpares(t, spares)
		})
	}
}

// What a worker says of itself stands in the log as it is said, on one line,
// and forges nothing.
func TestOddReports(t *testing.T) {
	t.Parallel()
	forged := `x\",\"msg\":\"stopped\",\"z\":\"\n{\"level\":\"info\",\"ts\":\"1\",\"msg\":\"stopped\",\"accepted\":9}\n\x00\x1b[2J\u0085\u2028`
	for name, c := range map[string]struct {
		step  string
		check func(systest.Event) bool
	}{
		"a large count":       {"count:9007199254740993", func(e systest.Event) bool { return e.BytesIn != nil && *e.BytesIn == 9007199254740993 }},
		"a forged value":      {`value:"k" "` + forged + `"`, func(e systest.Event) bool { return strings.HasPrefix(e.Report["k"], "x\",\"msg\":\"stopped\"") }},
		"bad UTF-8":           {`value:"k" "\xff\xfe a"`, func(e systest.Event) bool { return strings.HasSuffix(e.Report["k"], " a") }},
		"a forged name":       {`value:"msg" "stopped"`, func(e systest.Event) bool { return e.Report["msg"] == "stopped" }},
		"a long value":        {`value:"k" "` + strings.Repeat("x", 1024) + `"`, func(e systest.Event) bool { return len(e.Report["k"]) == 1024 }},
		"a value of controls": {`value:"k" "` + strings.Repeat(`\x01`, 1024) + `"`, func(e systest.Event) bool { return e.Report["k"] == strings.Repeat("\x01", 1024) }},
		"many values":         {"values:16", func(e systest.Event) bool { return len(e.Report) == 16 && e.Report["k15"] == "v" }},
		"a forged reason":     {`reason:"eof\",\"x\n\x1b[31m"`, func(e systest.Event) bool { return e.Reason == "eof\",\"x\n\x1b[31m" }},
		"no reason":           {`reason:""`, func(e systest.Event) bool { return e.Reason == "" }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, format := range []string{"json", "console"} {
				token := filepath.Join(systest.Dir(t), "token")
				if err := os.WriteFile(token, nil, 0o644); err != nil {
					t.Fatal(err)
				}
				m := systest.Options{
					LogFormat: format, Quiet: format == "console",
					Args: []string{"--listen", "unix:" + filepath.Dir(token) + "/s", "--spares", "1", "--handoff", "worker", "--",
						systest.Program(t, "cmd/internal/systest/badworker"), token, "ready", "wait", "taken", "serve", c.step},
				}.Start(t)
				var client *systest.Client
				if format == "console" {
					m.WaitFor(t, func(e systest.Event) bool { return strings.Contains(e.Line, "listening") })
					client = m.DialTo(t, "unix", filepath.Dir(token)+"/s")
				} else {
					m.WaitSpares(t, 1)
					client = m.Dial(t)
				}
				client.Echo(t, "hello\n")
				client.CloseWrite(t)
				client.ExpectEnd(t)
				if format == "json" {
					end := m.WaitFor(t, func(e systest.Event) bool { return e.Msg == systest.Reaped && e.Conn != "" })
					if end.Code() != 0 || end.Error != "" || !c.check(end) {
						t.Errorf("unexpected end: %s", end.Line)
					}
				} else {
					// For people: controls must not reach the terminal either.
					m.WaitFor(t, func(e systest.Event) bool { return strings.Contains(e.Line, "reaped") })
					m.Stop(t)
					m.WaitLogEnd(t)
				}
				for _, e := range m.Events(anyEvent) {
					if strings.ContainsFunc(e.Line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f || r == 0x85 }) {
						t.Errorf("a control character in the log: %q", e.Line)
					}
					if strings.HasPrefix(e.Line, `{"level":"info","ts":"1"`) {
						t.Errorf("a forged line: %s", e.Line)
					}
				}
			}
		})
	}
}

// A bad worker that lives on and on costs the master nothing: neither descriptors,
// which the end of every test counts, nor processes, nor memory for what it
// sends.
func TestEveryWorkerIsARogue(t *testing.T) {
	t.Parallel()
	badWorker := systest.Program(t, "cmd/internal/systest/badworker")
	for name, steps := range map[string]string{
		"garbage at once":    "garbage hang",
		"garbage and exit":   "garbage exit:0",
		"dies at once":       "exit:1",
		"ready and exit":     "ready exit:1",
		"floods at once":     "flood:garbage",
		"garbage while idle": "ready garbage hang",
		"closes while idle":  "ready close exit:0",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := append(with("--spares 12 --handoff worker -- "+badWorker+" -"), strings.Fields(steps)...)
			m := systest.Start(t, args...)
			spares := func(e systest.Event) bool { return e.Msg == systest.Reaped && e.Conn == "" }
			first := m.Wait(t, 12, spares)
			// From here on a new one comes after a pause that doubles up to a
			// second, so these twenty span five seconds at least.
			last := m.Wait(t, 32, spares)[31]
			n := 0
			for _, e := range m.Events(func(e systest.Event) bool { return e.Msg == systest.Broken || e.Msg == systest.Reaped }) {
				if e.Index > first[11].Index && e.Index <= last.Index && e.Msg == systest.Reaped {
					n++
				}
			}
			if children := systest.Children(m.PID); len(children) > 12 {
				t.Errorf("%d processes: %+v", len(children), children)
			}
			if seconds(t, last)-seconds(t, first[0]) < 2 {
				t.Errorf("%d workers were started without a pause", n)
			}
		})
	}
}

// Programs that end at once are started ever more slowly, clients are served
// or told so by the end of their connections, and as soon as the program is
// whole there are spares again.
func TestSparesRecover(t *testing.T) {
	t.Parallel()
	dir := systest.Dir(t)
	path := filepath.Join(dir, "worker")
	systest.CopyProgram(t, "/bin/false", path)
	m := systest.Start(t, "--spares", "3", "--handoff", "worker", "--", path, "-")
	m.Wait(t, 8, func(e systest.Event) bool { return e.Msg == systest.Reaped && e.Conn == "" })
	for range 3 {
		c := m.Dial(t)
		c.ExpectGone(t)
		if end := c.End(t); end.Code() != 1 {
			t.Errorf("unexpected end: %s", end.Line)
		}
	}
	good := filepath.Join(dir, "good")
	systest.CopyProgram(t, systest.Program(t, "cmd/internal/systest/badworker"), good)
	if err := os.Rename(good, path); err != nil {
		t.Fatal(err)
	}
	waiting := m.WaitSpares(t, 3)
	c := m.Dial(t)
	c.Echo(t, "hello\n")
	if pid := c.Worker(t); !slices.Contains(waiting, pid) {
		t.Errorf("served by %d, the spares were %v", pid, waiting)
	}
	c.Close()
	c.End(t)
	// Nothing of the pause is left: a spare that is killed now is replaced.
	for _, pid := range m.WaitSpares(t, 3) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	m.WaitSpares(t, 3)
}

// A program that is missing when a spare is to become it is a spawn that failed;
// one that is missing for a spare itself is said once
// for each attempt, and clients are told.
func TestSpareProgramDisappears(t *testing.T) {
	t.Parallel()
	path := filepath.Join(systest.Dir(t), "cat")
	systest.CopyProgram(t, realPath(t, "/bin/cat"), path)
	m := systest.Start(t, "--spares", "2", "--", path)
	m.WaitSpares(t, 2)
	if err := os.Rename(path, path+".gone"); err != nil {
		t.Fatal(err)
	}
	c := m.Dial(t)
	c.ExpectGone(t)
	if e := m.WaitFor(t, systest.Is(systest.SpawnFailed)); e.Error != fmt.Sprintf("fork/exec %s: no such file or directory", path) {
		t.Errorf("%s", e.Line)
	}
	if err := os.Rename(path+".gone", path); err != nil {
		t.Fatal(err)
	}
	m.WaitSpares(t, 2)
	m.Dial(t).Echo(t, "hello")
}

// What a worker reports is not believed without bounds: no report makes the sums
// of its service go down.
func TestReportedBytesAreBounded(t *testing.T) {
	t.Parallel()
	m := controlled(t, with("--handoff worker", "--", systest.Program(t, "cmd/internal/systest/badworker"), "-",
		"line", "count:9223372036854775807")...)
	var last uint64
	for range 3 {
		client := m.Dial(t)
		client.Echo(t, "hello\n")
		client.ExpectGone(t)
		var sum uint64
		systest.Until(t, "the report has come", func() bool {
			sum = looked(t, m).Services[0].Work.BytesIn
			return sum != last
		}, nil)
		if sum < last {
			t.Errorf("the sum of bytes went from %d to %d", last, sum)
		}
		last = sum
	}
}
