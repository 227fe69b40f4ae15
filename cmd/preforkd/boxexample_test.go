package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// A boxExample is a file of deploy/box, and how it is tried.
type boxExample struct {
	file string
	// replace has paths of the file, and what stands for each of them here.
	// Ports are replaced by themselves.
	replace []string
	wrap    []string // see systest.Options
	spares  int      // max-spares

	// use does to the services what clients do to them.
	use func(t *testing.T, m *systest.Master) error

	// exceptions are what the boxes allow beyond strict.
	exceptions []exception
	// tightens are the keys that take away more than strict does, with an attempt
	// in Bash that succeeds only without the key. A key without one is tried otherwise.
	tightens map[string]string
}

// An exception is something that a box allows because its program fails without it.
type exception struct {
	// out is a text of the file, which is in it once. It is replaced by in.
	out, in string
	// says is what then appears on the client's stderr or in the log, or, if the
	// configuration is refused, what is said of it.
	says    string
	refused bool
}

// text returns the text of an example with the paths and ports of a test.
func (e *boxExample) text(t *testing.T) (text string, listeners int) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(treeTop, "deploy/box", e.file))
	if err != nil {
		t.Fatal(err)
	}
	text = string(data)
	for i := 0; i < len(e.replace); i += 2 {
		if !strings.Contains(text, e.replace[i]) {
			t.Errorf("%s does not hold %s", e.file, e.replace[i])
		}
		text = strings.ReplaceAll(text, e.replace[i], e.replace[i+1])
	}
	listen := regexp.MustCompile(`(?m)^listen( +)= \["[^"]*:\d+"\](?: *#.*)?$`)
	listeners = len(listen.FindAllString(text, -1))
	if listeners == 0 || listeners != strings.Count(text, "\nlisten") {
		t.Fatalf("%s: not all of its listeners were found", e.file)
	}
	return listen.ReplaceAllString(text, `listen$1= ["127.0.0.1:0"]`), listeners
}

// examplePools counts the pools of users that start has chosen.
var examplePools atomic.Int64

// start starts a master with a text of the example.
func (e *boxExample) start(t *testing.T, text string, listeners int) *systest.Master {
	t.Helper()
	// limit-nproc counts the processes of a user, and other tests have users of the same
	// pool.
	first := 100_000 + os.Getpid()%20_000*5120 + int(examplePools.Add(1))*256
	text = strings.ReplaceAll(text, "\nlimit-nproc ", fmt.Sprintf("\nuser-pool = \"%d-%d\"\nlimit-nproc ", first, first+255))
	m := systest.Options{Config: text, Listeners: listeners, Wrap: e.wrap}.Start(t)
	m.Boxed = true
	m.Spares = e.spares
	// With the first process of a program comes what its box keeps for it.
	for _, l := range m.Listeners {
		m.DialTo(t, l.Network, l.Address).Close()
	}
	m.Wait(t, listeners, func(e systest.Event) bool { return e.Msg == systest.Reaped && e.Conn != "" })
	m.Baseline(t)
	return m
}

// try has the example do its work, and shows that it does not without each of its
// exceptions, and what its boxes forbid.
func (e *boxExample) try(t *testing.T) {
	t.Helper()
	text, listeners := e.text(t)
	e.accountForKeys(t, text)
	t.Run("works", func(t *testing.T) {
		m := e.start(t, text, listeners)
		if err := e.use(t, m); err != nil {
			t.Fatalf("%v\n%s", err, m.Log())
		}
	})
	for _, x := range e.exceptions {
		t.Run("without "+x.out, func(t *testing.T) {
			if strings.Count(text, x.out) != 1 {
				t.Fatalf("%q is in the file %d times", x.out, strings.Count(text, x.out))
			}
			e.tryWithout(t, strings.Replace(text, x.out, x.in, 1), listeners, x)
		})
	}
	e.tryForbidden(t, text)
}

func (e *boxExample) tryWithout(t *testing.T, text string, listeners int, x exception) {
	t.Helper()
	if x.refused {
		path := filepath.Join(systest.Dir(t), "preforkd.toml")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if r := systest.Run(t, "serve", "--config", path); r.Code == exitOK || !strings.Contains(r.Stderr, x.says) {
			t.Errorf("the configuration is not refused with %q: %+v", x.says, r)
		}
		return
	}
	m := e.start(t, text, listeners)
	err := e.use(t, m)
	if err == nil {
		t.Fatal("all works without it")
	}
	if !strings.Contains(err.Error(), x.says) {
		m.WaitFor(t, func(e systest.Event) bool { return strings.Contains(e.Line, x.says) })
	}
}

// accountForKeys finds keys of the boxes that nothing shows a reason for.
func (e *boxExample) accountForKeys(t *testing.T, text string) {
	t.Helper()
	for _, table := range strings.Split(text, "\n[")[1:] {
		if !strings.Contains(strings.SplitN(table, "\n", 2)[0], ".box]") {
			continue
		}
		for _, m := range regexp.MustCompile(`(?m)^([a-z-]+) *= (\[[^\]]*\]|.*)$`).FindAllStringSubmatch(table, -1) {
			_, tightens := e.tightens[m[1]]
			loosens := slices.ContainsFunc(e.exceptions, func(x exception) bool { return strings.Contains(m[0], strings.TrimSpace(x.out)) })
			if m[1] != "preset" && !tightens && !loosens {
				t.Errorf("%s: no reason is shown for %s", e.file, m[0])
			}
		}
	}
}

// forbidden are attempts that fail in each box of the examples.
var forbidden = map[string]string{
	"write outside": `echo mine >$OUTSIDE/file`,
	"connect out":   `exec 9<>/dev/tcp/127.0.0.1/$PORT`,
	"see others":    `kill -0 $MASTER`,
	"read a home":   `ls /root/.`,
}

// tryForbidden has a shell in the place of the programs make attempts: without a box,
// where they succeed, and in the box.
func (e *boxExample) tryForbidden(t *testing.T, text string) {
	t.Helper()
	outside := visibleDir(t)
	if err := os.Chmod(outside, 0o777); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())

	attempts := []string{}
	for name, attempt := range forbidden {
		if name != "read a home" || !strings.Contains(text, "\nprotect-home") {
			attempts = append(attempts, attempt)
		}
	}
	for key, attempt := range e.tightens {
		if attempt != "" && strings.Contains(text, "\n"+key) {
			attempts = append(attempts, attempt)
		}
	}
	script := fmt.Sprintf("export OUTSIDE=%s PORT=%s MASTER=%d\n", outside, port, os.Getpid())
	for i, attempt := range attempts {
		script += fmt.Sprintf("(%s) >/dev/null 2>&1 && echo %d\n", attempt, i)
	}
	script += "echo end\n"
	path := filepath.Join(outside, "attempts")
	if err := os.WriteFile(path, []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}

	program := regexp.MustCompile(`(?ms)^program *= \[.*?\]$`)
	handoff := regexp.MustCompile(`(?m)^(handoff|min-spares|max-spares|idle-timeout|directory) *= .*$`)
	text = handoff.ReplaceAllString(program.ReplaceAllString(text, fmt.Sprintf(`program = ["/bin/bash", %q]`, path)), "")
	open := regexp.MustCompile(`(?ms)^(\[service\.[a-z]+\.box\]\n).*?(\n\[|\z)`).ReplaceAllString(text, "$1$2")
	open = regexp.MustCompile(`(?m)^user *= .*$`).ReplaceAllString(open, "")
	for name, text := range map[string]string{"without a box": open, "in the box": text} {
		t.Run("attempts "+name, func(t *testing.T) {
			m := systest.Options{Config: text, Listeners: strings.Count(text, "\nlisten"), Wrap: e.wrap}.Start(t)
			m.Boxed = true
			m.StopSignal = syscall.SIGQUIT // its descriptors are not what they were at the start
			for _, l := range m.Listeners {
				done := m.DialTo(t, l.Network, l.Address).ExpectEnd(t)
				if !strings.HasSuffix(done, "end\n") {
					t.Fatalf("%s: the attempts have not come to their end: %q\n%s", l.Service, done, m.Log())
				}
				for i, attempt := range attempts {
					if strings.Contains(done, fmt.Sprintf("%d\n", i)) != (name == "without a box") {
						t.Errorf("%s: %s: %s: succeeds: %q", l.Service, name, attempt, done)
					}
				}
			}
		})
	}
}

// tried runs a client and returns its output, or else what it complains of.
func tried(t *testing.T, stdin, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), systest.Deadline())
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("%q does not end", cmd.Args)
	}
	if err != nil {
		return stdout.String(), fmt.Errorf("%q: %w: %s%s", cmd.Args, err, &stdout, &stderr)
	}
	return stdout.String(), nil
}

// answered sends a text to a service, and compares what comes back.
func answered(t *testing.T, m *systest.Master, service, request, want string) error {
	t.Helper()
	if got := answerOf(t, m, service, request); got != want {
		return errors.New("the answer is " + got)
	}
	return nil
}
