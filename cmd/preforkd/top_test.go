package main

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
	"github.com/preforkd/preforkd/cmd/internal/windowtest"
)

// People get a table, on a terminal one that fits.
func TestStatusForPeople(t *testing.T) {
	t.Parallel()
	m := systest.Options{Control: true, Args: program("/bin/cat")}.Start(t)
	c := m.Dial(t)
	c.Echo(t, "hello")
	accepted := c.Accepted(t)
	r := systest.Run(t, "status", "--control", m.Control)
	if r.Code != 0 || r.Stderr != "" {
		t.Fatalf("%+v", r)
	}
	row := regexp.MustCompile(`(?m)^` + accepted.Conn + ` +` + strconv.Itoa(accepted.PID) + ` +cat +` + regexp.QuoteMeta(c.LocalAddr().String()) + ` `)
	if !row.MatchString(r.Stdout) || !regexp.MustCompile(`(?m)^cat +serving +1/256 `).MatchString(r.Stdout) {
		t.Errorf("printed:\n%s", r.Stdout)
	}
}

func TestTopRefusesPipesAndHaste(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ args, want string }{
		{"top", "needs a terminal"},
		{"top --interval 1ms", "--interval 1ms: at least 100ms is needed"},
		{"top now", "top takes no arguments"},
	} {
		r := systest.Run(t, strings.Fields(test.args)...)
		if r.Code != exitUsage || strings.Count(r.Stderr, "\n") != 1 || !strings.Contains(r.Stderr, test.want) {
			t.Errorf("%s: %+v", test.args, r)
		}
	}
}

// Top shows a live connection of a real master, ends it when told to, and sees
// the master go.
func TestTop(t *testing.T) {
	t.Parallel()
	m := systest.Options{Control: true, Args: program("/bin/cat")}.Start(t)
	c := m.Dial(t)
	c.Echo(t, "hello")
	accepted := c.Accepted(t)

	w := windowtest.Open(t, 120, 30)
	cmd := exec.Command(systest.Preforkd(t), "top", "--control", m.Control, "--interval", "100ms")
	cmd.Env = []string{"TERM=xterm", "GORACE=atexit_sleep_ms=0", "GOCOVERDIR=" + cmp.Or(os.Getenv("PREFORKD_COVERDIR"), t.TempDir())}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = w.Terminal(), w.Terminal(), w.Terminal()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	defer func() {
		if !ended {
			cmd.Process.Kill()
			cmd.Wait()
		}
	}()
	shows := func(what string) {
		t.Helper()
		systest.Until(t, what, func() bool { return strings.Contains(w.Text(), what) }, w.Text)
	}
	shows("> " + accepted.Conn)
	shows(c.LocalAddr().String())
	w.Type(t, "k")
	shows(fmt.Sprintf("send SIGTERM to connection %s (pid %d", accepted.Conn, accepted.PID))
	w.Type(t, "y")
	if end := c.End(t); end.Signal != "SIGTERM" {
		t.Errorf("the connection ended so: %s", end.Line)
	}
	shows("0 of 0 connections")
	m.Signal(t, syscall.SIGTERM)
	stopped(t, m)
	shows("NO ANSWER")
	w.Type(t, "q")
	ended = true
	if err := cmd.Wait(); err != nil {
		t.Errorf("top ended with %v", err)
	}
}
