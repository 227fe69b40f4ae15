package main

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// configured starts a master with a configuration file of as many listeners.
func configured(t *testing.T, listeners int, text string) *systest.Master {
	t.Helper()
	return systest.Options{Config: text, Listeners: listeners}.Start(t)
}

// single is a configuration of one service that listens on a port of the
// kernel's choice, with these lines besides.
func single(lines ...string) string {
	return "[service.one]\nlisten = [\"127.0.0.1:0\"]\n" + strings.Join(lines, "\n") + "\n"
}

// catting is a program that sends back what it gets.
const catting = `program = ["/bin/cat"]`

// dialSource connects to the master's first listener from a given address.
func dialSource(t *testing.T, m *systest.Master, source string) *systest.Client {
	t.Helper()
	return dialFromTo(t, m, source, m.Listeners[0].Address)
}

// dialFromTo connects to any address of the master from a given one.
func dialFromTo(t *testing.T, m *systest.Master, source, address string) *systest.Client {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
	conn, err := d.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return m.Wrap(conn)
}

// refusedFor waits for the refusal of a TCP client and returns its event.
func refusedFor(t *testing.T, m *systest.Master, c *systest.Client, reason string) systest.Event {
	t.Helper()
	c.ExpectGone(t)
	peer := c.LocalAddr().String()
	e := m.WaitFor(t, func(e systest.Event) bool { return e.Msg == systest.Refused && e.Peer == peer })
	if e.Reason != reason {
		t.Errorf("refused for %q, want %q: %s", e.Reason, reason, e.Line)
	}
	return e
}

func TestCheck(t *testing.T) {
	t.Parallel()
	dir := systest.Dir(t)
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("good", single(catting, `rate = "5/s"`, `allow = ["127.0.0.0/8"]`))
	r := systest.Run(t, "check", "--config", good)
	if r.Code != 0 || r.Stderr != "" {
		t.Fatalf("%+v", r)
	}
	for _, want := range []string{"[service.one]\n", `"127.0.0.1:0"`, "burst ", "= 5\n", "drain-timeout", "\n# service.one: box none leaves open setuid programs, "} {
		if !strings.Contains(r.Stdout, want) {
			t.Errorf("%q is not in\n%s", want, r.Stdout)
		}
	}
	// What it prints means the same, and the flags that say the same do too.
	again := systest.Run(t, "check", "--config", write("again", r.Stdout))
	if again.Code != 0 || again.Stdout != r.Stdout {
		t.Errorf("printed again: %+v", again)
	}
	flags := systest.Run(t, "check", "--listen", "127.0.0.1:0", "--rate", "5/s", "--allow", "127.0.0.0/8", "--", "/bin/cat")
	if flags.Code != 0 || flags.Stdout != strings.ReplaceAll(r.Stdout, "service.one", "service.cat") {
		t.Errorf("with flags: %+v", flags)
	}

	bad := write("bad", single(`program = ["/nowhere/program"]`, `max-conections = 5`, `rate = 5`))
	want := bad + `:3:12: service.one: program "/nowhere/program": no such file or directory` + "\n" +
		bad + `:4:1: service.one: unknown key "max-conections"; did you mean "max-connections"?` + "\n" +
		bad + `:5:8: service.one: rate 5: must be a string` + "\n"
	for _, command := range []string{"check", "serve"} {
		if r := systest.Run(t, command, "--config", bad); r.Code != 2 || r.Stderr != want || r.Stdout != "" {
			t.Errorf("%s: code %d, stdout %q, stderr\n%s\nwant\n%s", command, r.Code, r.Stdout, r.Stderr, want)
		}
	}
	for name, c := range map[string]struct {
		says string
		args []string
	}{
		"no such file":      {"/nowhere/file", []string{"--config", "/nowhere/file"}},
		"a directory":       {"is a directory", []string{"--config", dir}},
		"file and flag":     {"--rate", []string{"--config", good, "--rate", "5/s"}},
		"file and argument": {"echo", []string{"--config", good, "echo"}},
		"mistaken flag":     {`rate "5"`, []string{"--rate", "5"}},
		"several mistaken":  {"; burst 3: there is no rate", []string{"--max-connections", "0", "--burst", "3"}},
	} {
		for _, command := range []string{"check", "serve"} {
			r := systest.Run(t, append([]string{command}, c.args...)...)
			if r.Code != 2 || !strings.Contains(r.Stderr, c.says) {
				t.Errorf("%s, %s: %+v", command, name, r)
			}
			oneLine(t, r.Stderr)
		}
	}
}

// Several services of one file, each with its own.
func TestServices(t *testing.T) {
	t.Parallel()
	path := filepath.Join(systest.Dir(t), "s")
	m := configured(t, 3, `
[service.echo]
listen = ["127.0.0.1:0", "unix:`+path+`"]
handler = "echo"
quit-word = "exit"
[service.upper]
listen = ["127.0.0.1:0"]
program = ["/bin/sh", "-c", "read line; echo \"$PREFORKD_SERVICE $line\""]
`)
	for _, l := range m.Listeners {
		c := m.DialTo(t, l.Network, l.Address)
		c.Send(t, "hello\n")
		want := "hello\n"
		if l.Service == "upper" {
			want = "upper hello\n"
		}
		c.Expect(t, want)
		if l.Service == "echo" {
			c.Send(t, "exit\n")
		}
		c.ExpectEnd(t)
	}
	m.WaitIdle(t)
	for _, e := range m.Events(systest.Is(systest.Reaped)) {
		if e.Service == "echo" && e.Reason != "quit-word" {
			t.Errorf("%s", e.Line)
		}
	}
}

// What a person writes about processes is what a worker sees.
func TestProcessKeys(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	dir := systest.Dir(t)
	const report = `echo "$(id -u) $(id -g) $(id -G) $(umask) $(pwd) $A $B-$C" | tr -s " "`
	for name, c := range map[string]struct {
		lines []string
		want  string
	}{
		"nothing":   {[]string{`umask = ""`}, "0 0 " + command(t, "", "sh", "-c", "id -G | tr -d '\\n'; umask | sed 's/^/ /' | tr -d '\\n'")},
		"user":      {[]string{`user = "nobody"`, `umask = "077"`, `directory = "` + dir + `"`}, "65534 65534 65534 0077 " + dir + " -"},
		"numbers":   {[]string{`user = "12345"`, `group = "23456"`, `supplementary-groups = ["1", "daemon", "2"]`, `umask = "002"`, `directory = "/"`}, "12345 23456 23456 1 2 0002 / -"},
		"group":     {[]string{`group = "nogroup"`, `umask = "022"`, `directory = "/"`}, "0 65534 65534 0022 / -"},
		"variables": {[]string{`env = ["A=a b", "B", "C=", "LANG=x"]`, `umask = "022"`, `directory = "/"`, `group = "0"`}, "0 0 0 0022 / a b from outside-"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := systest.Options{
				Env:    []string{"B=from outside", "LANG=C"},
				Config: single(append(c.lines, `program = ["/bin/sh", "-c", '`+report+`']`)...),
			}.Start(t)
			got := strings.TrimSpace(m.Dial(t).ExpectEnd(t))
			if name == "nothing" {
				if !strings.HasPrefix(got, c.want) {
					t.Errorf("got %q, want a beginning %q", got, c.want)
				}
			} else if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// A built-in worker runs as another user too, and so do spares.
func TestUserOfWorkers(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	for _, spares := range []string{"spares = 0", "spares = 1"} {
		m := configured(t, 1, single(`handler = "echo"`, `user = "nobody"`, `umask = "027"`, spares))
		m.StopSignal = syscall.SIGQUIT // a spare is always there
		c := m.Dial(t)
		c.Echo(t, "hello")
		pid := c.Worker(t)
		status := command(t, "", "grep", "-E", "^(Uid|Gid|Groups|Umask):", "/proc/"+strconv.Itoa(pid)+"/status")
		for _, want := range []string{"Uid:\t65534\t65534\t65534\t65534", "Gid:\t65534\t65534\t65534\t65534", "Groups:\t \n", "Umask:\t0027"} {
			if !strings.Contains(status, want) {
				t.Errorf("%s: no %q in\n%s", spares, want, status)
			}
		}
		c.Close()
	}
}

// Lines on stderr reach the log with their connection's id, whoever holds the
// other end of the pipe.
func TestStderrLog(t *testing.T) {
	t.Parallel()
	gate := systest.NewGate(t)
	m := configured(t, 1, single(`stderr = "log"`, `leftovers = "keep"`,
		`program = ["/bin/sh", "-c", 'echo first >&2; echo "second half" >&2; (read go < `+gate.Path+`) 0<&- 1>&- & printf "no end of line" >&2; read line; echo $line']`))
	for range 2 {
		c := m.Dial(t)
		c.Echo(t, "hello\n")
		conn := c.End(t).Conn // although its child holds the pipe
		lines := m.Events(systest.Of(systest.Stderr, conn))
		var written []string
		for _, e := range lines {
			written = append(written, e.Written)
		}
		if got := strings.Join(written, "|"); got != "first|second half|no end of line" {
			t.Errorf("logged %q", got)
		}
		gate.Open(t)
	}
}

// A worker that floods its stderr, or never ends a line, holds up nobody.
func TestStderrFlood(t *testing.T) {
	t.Parallel()
	m := configured(t, 1, single(`stderr = "log"`, `program = ["/bin/sh", "-c", "head -c 3000000 /dev/zero >&2; cat"]`))
	m.LossyLog = true
	c := m.Dial(t)
	c.Echo(t, "hello")
	c.Close()
	e := m.WaitFor(t, systest.Is(systest.Stderr))
	if n := len(e.Written); n > 4096*6 {
		t.Errorf("a line of %d bytes", n)
	}
}

func TestStderrNull(t *testing.T) {
	t.Parallel()
	m := configured(t, 1, single(`stderr = "null"`, `program = ["/bin/sh", "-c", "echo lost >&2 && echo $?"]`))
	if got := m.Dial(t).ExpectEnd(t); got != "0\n" {
		t.Errorf("the program could not write: %q", got)
	}
	m.WaitIdle(t)
	if strings.Contains(m.Log(), "lost") {
		t.Error("stderr is not null")
	}
}

// A program that outlives its time is ended with TERM, then KILL.
func TestMaxLifetimeOfAProgram(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ script, signal string }{
		"obeys":    {"exec sleep 1000", "SIGTERM"},
		"does not": {`trap "" TERM; while :; do sleep 1000; done`, "SIGKILL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := configured(t, 1, "[master]\nkill-delay = \"50ms\"\n"+single(`max-lifetime = "10ms"`, `program = ["/bin/sh", "-c", '`+c.script+`']`))
			conn := m.Dial(t)
			conn.ExpectGone(t)
			if e := conn.End(t); e.Signal != c.signal {
				t.Errorf("ended by %q, want %s: %s", e.Signal, c.signal, e.Line)
			}
		})
	}
}
