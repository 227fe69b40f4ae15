package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

const learnedBasic = "[service.one.box]\npreset = \"basic\"\n"

// startBasic starts a master whose one service sends back what it gets, in a box that any
// user can have.
func startBasic(t *testing.T, o systest.Options, keys ...string) *systest.Master {
	t.Helper()
	o.Config = single(append([]string{catting}, keys...)...) + learnedBasic
	m := o.Start(t)
	m.Boxed = true
	return m
}

// What cannot be done is one line, and nothing is observed.
func TestLearnRefused(t *testing.T) {
	t.Parallel()
	m := startBasic(t, systest.Options{})
	m.Dial(t).Echo(t, "hello")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{nil, exitUsage, "learn takes one service, and got 0 arguments"},
		{[]string{""}, exitUsage, `service "": the name is empty`},
		{[]string{"one", "--for", "0s"}, exitUsage, "--for 0s: must be longer than 0s"},
		{[]string{"one", "--for", "-1s"}, exitUsage, "--for -1s: must be longer than 0s"},
		{[]string{"two"}, exitFailure, `there is no service "two"; there is one`},
	} {
		if r := ran(t, m, append([]string{"learn"}, c.args...)...); r.Code != c.code || !strings.HasPrefix(r.Stderr, "preforkd: "+c.want) || strings.Count(r.Stderr, "\n") != 1 || r.Stdout != "" {
			t.Errorf("%q: %+v", c.args, r)
		}
	}
	// Nobody has connected within the time.
	if r := ran(t, m, "learn", "one", "--for", "10ms"); r.Code != exitFailure || !strings.HasSuffix(r.Stderr, "service one: nothing was observed, because no connection has begun\n") || r.Stdout != "" {
		t.Errorf("%+v", r)
	}
	l := startLearning(t, m, "one")
	if r := ran(t, m, "learn", "one"); r.Code != exitFailure || !strings.HasPrefix(r.Stderr, "preforkd: service one is observed already, for control: uid=") {
		t.Errorf("a second one: %+v", r)
	}
	m.Dial(t).Echo(t, "hello")
	l.end(t)
	told(t, m, "drain", "one")
	if r := ran(t, m, "learn", "one"); r.Code != exitFailure || !strings.HasPrefix(r.Stderr, "preforkd: service one is drained, and has no new connections to observe") {
		t.Errorf("of a drained service: %+v", r)
	}
	m.Baseline(t)
}

// A reload that leaves the service as it is does not end the observation, and one that
// changes or removes it does. What is known is printed, and who is observed goes on.
func TestLearnAndReload(t *testing.T) {
	t.Parallel()
	one := single(catting) + learnedBasic
	two := "[service.two]\nlisten = [\"127.0.0.1:0\"]\n" + catting + "\n"
	for name, c := range map[string]struct{ text, want string }{
		"changed": {single(catting, "max-connections = 7") + learnedBasic, "changed"},
		"boxed":   {one + "limit-nofile = \"100\"\n", "changed"},
		"removed": {two, "removed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := startBasic(t, systest.Options{})
			l := startLearning(t, m, "one")
			if e := m.Reload(t, one+two); e.Msg != systest.Reloaded || e.Changed != "" || e.Added != "two" {
				t.Errorf("the service that is observed: %s", e.Line)
			}
			client := m.Dial(t)
			client.Echo(t, "hello")
			if e := m.Reload(t, c.text); e.Msg != systest.Reloaded {
				t.Fatal(e.Line)
			}
			keys, said := l.wait(t, 0)
			if said != "preforkd: it has ended early: a reload has "+c.want+" the service\n" || !strings.HasPrefix(keys, "# What 1 process") || len(learnedCalls(keys)) < 3 {
				t.Errorf("%s%s", keys, said)
			}
			client.Echo(t, "and so on")
			client.Close()
			client.End(t)
			noListeners(t, m)
			m.Baseline(t)
		})
	}
}

// When a client dies that learns, the observation ends by itself, and somebody else may
// begin one.
func TestLearnerDies(t *testing.T) {
	t.Parallel()
	m := startBasic(t, systest.Options{})
	l := startLearning(t, m, "one")
	l.cmd.Process.Kill()
	l.cmd.Wait()
	if e := m.WaitFor(t, systest.Is("learned")); e.Reason != "nobody has asked for it any more" {
		t.Errorf("%s", e.Line)
	}
	next := startLearning(t, m, "one")
	m.Dial(t).Echo(t, "hello")
	next.end(t)
	m.Baseline(t)
}

// A master that stops ends the observation, and lets who is observed finish.
func TestLearnAndStop(t *testing.T) {
	t.Parallel()
	m := startBasic(t, systest.Options{})
	l := startLearning(t, m, "one")
	c := m.Dial(t)
	c.Echo(t, "hello")
	m.Signal(t, syscall.SIGTERM)
	keys, said := l.wait(t, 0)
	if said != "preforkd: it has ended early: preforkd is stopping\n" || len(learnedCalls(keys)) < 3 {
		t.Errorf("%s%s", keys, said)
	}
	c.Echo(t, "and so on")
	c.Close()
	if code := m.WaitExit(t); code != 0 {
		t.Errorf("the master exits with %d", code)
	}
}

// When a master is killed, those end whose calls nobody answers any more.
func TestLearnAndKill(t *testing.T) {
	t.Parallel()
	m := startBasic(t, systest.Options{})
	l := startLearning(t, m, "one")
	c := m.Dial(t)
	c.Echo(t, "hello")
	pid := c.Accepted(t).PID
	m.Kill(t)
	systest.Until(t, "without the worker", func() bool { return !systest.Alive(pid) }, func() string { return "" })
	if _, said := l.wait(t, 1); !strings.Contains(said, "this is what was known before it ended: ") {
		t.Errorf("it says %s", said)
	}
}

// An ordinary user's master observes what is in a box in which no privileges are gained,
// and says so of what is in none.
func TestLearnAsUser(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	uid := uint32(1<<21 + os.Getpid())
	for name, c := range map[string]struct {
		flags   []string
		refused string
	}{
		"basic": {flags: []string{"--box-preset", "basic"}},
		"none":  {refused: "without no-new-privileges, its system calls can be observed only by a master with CAP_SYS_ADMIN: "},
	} {
		uid += 1 << 20
		dir := fmt.Sprintf("/tmp/preforkd-%d", uid)
		o := systest.Options{
			Control: true, Args: append(c.flags, "--", "/bin/cat"), Dir: "/",
			Env:  []string{"RUNTIME_DIRECTORY=", "XDG_RUNTIME_DIR="},
			Attr: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}},
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			t.Cleanup(func() { os.RemoveAll(dir) })
			m := o.Start(t)
			m.Boxed, m.Control = true, filepath.Join(dir, "control.sock")
			if c.refused != "" {
				if r := ran(t, m, "learn", "cat"); r.Code != exitFailure || !strings.HasPrefix(r.Stderr, "preforkd: service cat: "+c.refused) || strings.Count(r.Stderr, "\n") != 1 {
					t.Errorf("%+v", r)
				}
				m.Dial(t).Echo(t, "hello")
				m.Baseline(t)
				return
			}
			l := startLearning(t, m, "cat")
			client := m.Dial(t)
			client.Echo(t, "hello")
			client.Close()
			client.End(t)
			if calls := learnedCalls(l.end(t)); len(calls) < 3 {
				t.Errorf("learned was %q", calls)
			}
			noListeners(t, m)
			m.Baseline(t)
		})
	}
}

// Spares are replaced by observed ones when it begins, and by others when it ends. A
// service without a box and with another user is observed, too.
func TestLearnSpares(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	m := systest.Options{Config: single(catting, "spares = 1", `user = "nobody"`)}.Start(t)
	m.Spares, m.Boxed = 1, true
	before := m.WaitSpares(t, 1)
	l := startLearning(t, m, "one")
	systest.Until(t, "with another spare", func() bool { return m.WaitSpares(t, 1)[0] != before[0] }, func() string { return "" })
	for range 2 {
		c := m.Dial(t)
		c.Echo(t, "hello")
		c.Close()
		c.End(t)
	}
	keys := l.end(t)
	if !strings.Contains(keys, `"recvmsg"`) { // by which a spare gets its connection
		t.Errorf("the spares were not observed: %s", keys)
	}
	noListeners(t, m)
	m.WaitSpares(t, 1)
	m.Baseline(t)
}
