package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// checkedText has a configuration checked.
func checkedText(t *testing.T, text string) systest.Result {
	t.Helper()
	path := filepath.Join(systest.Dir(t), "preforkd.toml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return systest.Run(t, "check", "--config", path)
}

// passing is what is different each time in the output of a command, and what
// stands for it in a comparison.
var passing = []struct {
	is *regexp.Regexp
	as string
}{
	{regexp.MustCompile(`\d\d:\d\d:\d\d(\.\d+)?`), "TIME"},
	{regexp.MustCompile(`\b[a-z0-9]{8}-\d+\b`), "CONN"},
	{regexp.MustCompile(`\b127\.0\.0\.\d+:\d+`), "ADDR"},
	{regexp.MustCompile(`unix:\S+/control\.sock`), "CONTROL"},
	{regexp.MustCompile(`\bpid \d+`), "pid N"},
	{regexp.MustCompile(`\b(\d+h)?(\d+m)?\d+(\.\d+)?(ms|µs|s)\b`), "DURATION"},
	{regexp.MustCompile(`\b\d+(\.\d+)? ([KM]i)?B\b`), "SIZE"},
	{regexp.MustCompile(`\s+`), " "},
}

// shape returns a line without what is different each time.
func shape(line string) string {
	for _, p := range passing {
		line = p.is.ReplaceAllString(line, p.as)
	}
	return strings.TrimSpace(line)
}

// shown collects the samples with output of all documents by their commands, and
// finds those that nothing has been compared with.
type shown struct {
	t       *testing.T
	samples []sample
	seen    map[string]bool
}

func newShown(t *testing.T) *shown {
	s := &shown{t: t, seen: map[string]bool{}}
	for _, d := range documents(t) {
		for _, b := range d.blocks {
			if b.language == "console" {
				s.samples = append(s.samples, b.samples()...)
			}
		}
	}
	s.samples = slices.DeleteFunc(s.samples, func(s sample) bool { return len(s.output) == 0 })
	return s
}

// like compares what the documents show of a command with its real output.
func (s *shown) like(command, output string) {
	s.t.Helper()
	s.seen[command] = true
	var got []string
	for line := range strings.Lines(output) {
		got = append(got, shape(line))
	}
	found := false
	for _, sample := range s.samples {
		if sample.command != command {
			continue
		}
		found = true
		var want []string
		for _, line := range sample.output {
			want = append(want, shape(line))
		}
		if !slices.Equal(got, want) {
			s.t.Errorf("$ %s\nprints\n%s\nwhere a document shows\n%s\ncompared as\n%q\n%q", command, output, strings.Join(sample.output, "\n"), got, want)
		}
	}
	if !found {
		s.t.Errorf("no document shows what %q prints", command)
	}
}

// What documents show of a command is what it prints, but for times, numbers and
// addresses that are others each time.
func TestDocumentedOutput(t *testing.T) {
	t.Parallel()
	s := newShown(t)

	m := systest.Options{Control: true, LogFormat: "console", Quiet: true, Args: []string{"--listen", "127.0.0.1:0"}}.Start(t)
	m.LossyLog, m.StopSignal = true, syscall.SIGQUIT // its log is not for programs
	lines := func(n int) []string {
		var lines []string
		for _, e := range m.Wait(t, n, func(systest.Event) bool { return true }) {
			lines = append(lines, e.Line)
		}
		return lines
	}
	log := lines(2)
	s.like("preforkd serve", strings.Join(log, "\n")+"\n")
	address := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(log[1])
	s.like("echo hello | preforkd connect 127.0.0.1:7007", onTerminal(t, "hello\n", "connect", address))
	// The log may be written after the client has left.
	s.like("", strings.Join(lines(4)[2:], "\n")+"\n")

	text := readme(t, "toml")[0].text
	mistaken := filepath.Join(systest.Dir(t), "mistaken.toml")
	wrong := strings.NewReplacer("max-connections", "max-conections", `"5/s"`, `"5"`).Replace(text)
	if err := os.WriteFile(mistaken, []byte(wrong), 0o644); err != nil {
		t.Fatal(err)
	}
	r := systest.Options{Dir: filepath.Dir(mistaken)}.Run(t, "check", "--config", "mistaken.toml")
	if r.Code != exitUsage || r.Stdout != "" {
		t.Errorf("a configuration with mistakes: %+v", r)
	}
	s.like("preforkd check --config mistaken.toml", r.Stderr)

	// The README's configuration, at other addresses.
	free := regexp.MustCompile(`127\.0\.0\.1:\d+`).ReplaceAllString(text, "127.0.0.1:0")
	free = strings.Replace(free, "unix:@echo", "unix:"+systest.Dir(t)+"/s", 1)
	// At this rate no machine is too slow to be refused.
	free = strings.Replace(free, `"5/s"`, `"5/h"`, 1)
	c := systest.Options{Config: free, Listeners: 3}.Start(t)
	s.like("preforkd explain 192.0.2.7", told(t, c, "explain", "192.0.2.7"))
	for range 12 {
		c.DialTo(t, "tcp", listenerOf(t, c, "time").Address).Conn.Close()
	}
	c.WaitFor(t, systest.Is(systest.Refused))
	c.WaitIdle(t)
	s.like("preforkd explain 127.0.0.1 time", strings.Replace(told(t, c, "explain", "127.0.0.1", "time"), "5/h", "5/s", 1))
	number := regexp.MustCompile(` \d+\n`)
	s.like(`curl -s --unix-socket /run/preforkd/control.sock http://localhost/metrics | grep '"rate-per-source",service="time"'`,
		number.ReplaceAllString(grep(overControl(t, c, "/metrics"), `"rate-per-source",service="time"`), " 12\n"))
	before, after, _ := cutLast(free, `"127.0.0.1:0"`)
	c.WriteConfig(t, before+`"127.0.0.2:0"`+after)
	s.like("preforkd reload", told(t, c, "reload"))
	c.StopSignal = syscall.SIGQUIT // its descriptors are not what they were at the start

	for _, sample := range s.samples {
		if !s.seen[sample.command] {
			t.Errorf("nothing compares with what the documents show of %q", sample.command)
		}
	}
}

// onTerminal runs preforkd with an input and returns what a terminal shows of it.
func onTerminal(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	terminal, end, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	cmd := exec.CommandContext(t.Context(), systest.Preforkd(t), args...)
	cmd.Env = append(os.Environ(), "GOCOVERDIR="+t.TempDir(), "GORACE=atexit_sleep_ms=0")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), end, end
	err = cmd.Run()
	end.Close()
	if err != nil {
		t.Errorf("%v: %v", cmd.Args, err)
	}
	// Nobody writes any more: the end is an error, after what was written.
	out, _ := io.ReadAll(terminal)
	return strings.ReplaceAll(colours.ReplaceAllString(string(out), ""), "\r\n", "\n")
}

func listenerOf(t *testing.T, m *systest.Master, service string) systest.Listener {
	t.Helper()
	at := slices.IndexFunc(m.Listeners, func(l systest.Listener) bool { return l.Service == service })
	if at < 0 {
		t.Fatalf("no listener of %s in %+v", service, m.Listeners)
	}
	return m.Listeners[at]
}

// overControl asks a master for a page, over its control socket.
func overControl(t *testing.T, m *systest.Master, path string) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", m.Control)
	}}}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", path, answer.Status, err)
	}
	return string(text)
}

// grep returns the lines that hold a text.
func grep(text, part string) string {
	var found bytes.Buffer
	for line := range strings.Lines(text) {
		if strings.Contains(line, part) {
			found.WriteString(line)
		}
	}
	return found.String()
}

// Requests that documents show are answered as they should be.
func TestDocumentedRequests(t *testing.T) {
	t.Parallel()
	systest.Need(t, "curl")
	m := systest.Options{Config: "[service.time]\nlisten = [\"127.0.0.1:0\"]\n" + catting}.Start(t)
	c := m.Dial(t)
	c.Echo(t, "hello\n")
	conn := c.Accepted(t).Conn
	id := regexp.MustCompile(`/connections/([^/]+)/`)
	asked := 0
	for _, d := range documents(t) {
		for _, b := range d.blocks {
			if b.language != "console" {
				continue
			}
			for _, s := range b.samples() {
				if !strings.HasPrefix(s.command, "curl ") || len(s.output) > 0 {
					continue
				}
				asked++
				line := strings.Replace(s.command, "/run/preforkd/control.sock", m.Control, 1)
				line = id.ReplaceAllString(line, "/connections/"+conn+"/")
				out := command(t, "", "sh", "-c", line+" -sS -f")
				var answer map[string]any
				if err := json.Unmarshal([]byte(out), &answer); err != nil || answer["error"] != nil {
					t.Errorf("%s: $ %s: %v: %s", d.path, s.command, err, out)
				}
			}
		}
	}
	if asked < 6 {
		t.Errorf("only %d requests were found", asked)
	}
	if e := c.End(t); e.Signal != "SIGKILL" {
		t.Errorf("the connection ended otherwise: %s", e.Line)
	}
	m.StopSignal = syscall.SIGQUIT // its descriptors are not what they were at the start
}

// Events that documents show as JSON have the fields that such events have.
func TestDocumentedEvents(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, program("/bin/sh", "-c", "exit 0")...)
	m.Dial(t).ExpectGone(t)
	fields := func(line string) []string {
		var event map[string]any
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		return slices.Sorted(maps.Keys(event))
	}
	want := fields(m.WaitFor(t, systest.Is(systest.Reaped)).Line)
	found := 0
	for _, d := range documents(t) {
		for _, b := range d.blocks {
			if b.language != "json" {
				continue
			}
			found++
			if got := fields(b.text); !slices.Equal(got, want) {
				t.Errorf("%s shows the fields %q, and an event has %q", d.path, got, want)
			}
		}
	}
	if found == 0 {
		t.Error("no document shows an event")
	}
}

// The README's handler can be built in an empty directory, by the commands that
// stand below it, and serves.
func TestReadmeHandler(t *testing.T) {
	t.Parallel()
	source := readme(t, "go")[0].text
	at := slices.IndexFunc(readme(t, "console"), func(b block) bool { return strings.Contains(b.text, "go mod init") })
	if at < 0 {
		t.Fatal("the README does not say how to build a handler")
	}
	checkout, err := filepath.Abs(treeTop)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(systest.Dir(t), "greet")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	served := false
	for _, s := range readme(t, "console")[at].samples() {
		line, isServe := strings.CutPrefix(s.command, "preforkd serve ")
		if !isServe {
			built(t, dir, "sh", "-ec", strings.ReplaceAll(s.command, "~/preforkd", checkout))
			continue
		}
		served = true
		m := systest.Options{Dir: dir, Args: strings.Fields(line)}.Start(t)
		c := m.Dial(t)
		want := c.LocalAddr().String()
		c.Expect(t, "hello "+want+"\n")
		c.ExpectEnd(t)
		if e := m.WaitFor(t, systest.Is(systest.Reaped)); e.Report["greeted"] != want {
			t.Errorf("the report is %v: %s", e.Report, e.Line)
		}
	}
	if !served {
		t.Error("the README does not say how to serve a handler")
	}
}

// built runs a command that compiles. Only the time of the whole test bounds it:
// on a slow machine whose cache is empty it takes minutes.
func built(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", cmd.Args, err, out)
	}
}
