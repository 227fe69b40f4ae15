package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
	"github.com/preforkd/preforkd/ipc/slowtest"
	"github.com/preforkd/preforkd/master/control"
)

// manyServices returns how many services a test has that is about many.
func manyServices() int {
	if testing.Short() || slowtest.Factor() > 2 {
		return 300
	}
	return 2000
}

// servicesText returns the configuration of services s0, s1 and so on.
func servicesText(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "[service.s%d]\nlisten = ['127.0.0.1:0']\nprogram = ['/bin/cat']\n\n", i)
	}
	return text.String()
}

// Thousands of services start, show in the status and are served, and a reload
// changes the one that has changed. Neither threads nor what a spawn has to copy follow
// their number. Most of them go and come back.
func TestManyServices(t *testing.T) {
	n := manyServices()
	needDescriptors(t, uint64(n+200))
	text := servicesText(n)
	m := systest.Options{Config: text, Listeners: n, Env: []string{"GOMAXPROCS=2"}}.Start(t)
	echoes := func(i int) {
		t.Helper()
		c := m.DialTo(t, m.Listeners[i].Network, m.Listeners[i].Address)
		c.Echo(t, "hello")
		c.Close()
		c.End(t)
	}
	fewDescriptors := func() {
		t.Helper()
		var fds []systest.FD
		// The kernel copies the table up to the highest number. What was opened after
		// the listeners, and beside them, would have one of n or more.
		systest.Until(t, "few descriptors, and none with a high number", func() bool {
			fds = systest.FDs(m.PID)
			return len(fds) <= 100 && fds[len(fds)-1].Number < n
		}, func() string {
			return fmt.Sprintf("%d descriptors, the last of them %+v", len(fds), fds[len(fds)-1])
		})
	}
	fewDescriptors()
	const changed = 77
	for _, i := range []int{0, changed, n - 1} {
		echoes(i)
	}
	// One is changed, and all that follow it move in the file.
	text = strings.Replace(text, fmt.Sprintf("[service.s%d]\n", changed), fmt.Sprintf("[service.s%d]\nmax-connections = 7\n", changed), 1)
	e := m.Reload(t, text)
	if e.Msg != systest.Reloaded || e.Changed != fmt.Sprintf("s%d", changed) || e.Added+e.Removed+e.Opened+e.Closed != "" {
		t.Errorf("%s", e.Line)
	}
	for _, i := range []int{0, changed, n - 1} {
		echoes(i)
	}
	// What is wrong with one of them stands where it stands in the file.
	mistaken := strings.Replace(text, fmt.Sprintf("[service.s%d]\n", n-1), fmt.Sprintf("[service.s%d]\nbacklogs = 1\n", n-1), 1)
	line := strings.Count(mistaken[:strings.Index(mistaken, "backlogs")], "\n") + 1
	if e := m.Reload(t, mistaken); e.Msg != systest.NotReloaded || !strings.Contains(e.Error, fmt.Sprintf("preforkd.toml:%d:1: service.s%d: unknown key \"backlogs\"", line, n-1)) {
		t.Errorf("%s", e.Line)
	}
	shown := systest.Run(t, "status", "--json", "--control", m.Control)
	var status control.Status
	if err := json.Unmarshal([]byte(shown.Stdout), &status); err != nil || len(status.Services) != n || status.Services[n-1].Name != fmt.Sprintf("s%d", n-1) ||
		status.Services[changed].Limit != 7 || status.Services[changed+1].Limit == 7 {
		t.Fatalf("%v, %d services, %s", err, len(status.Services), shown.Stderr)
	}
	if threads := systest.ReadStatus(m.PID).Threads; threads > 40 {
		t.Errorf("%d threads", threads)
	}

	const few = 10
	if e := m.Reload(t, servicesText(few)); e.Msg != systest.Reloaded || len(strings.Fields(e.Closed)) != n-few {
		t.Errorf("%s", e.Line)
	}
	echoes(few - 1)
	if c, err := net.Dial("tcp", m.Listeners[n-1].Address); err == nil {
		c.Close()
		t.Error("somebody listens for a service that was removed")
	}
	e = m.Reload(t, servicesText(n))
	opened := strings.Fields(e.Opened)
	if e.Msg != systest.Reloaded || len(opened) != n-few {
		t.Fatalf("%s", e.Line)
	}
	echoes(few - 1)
	c := m.DialTo(t, "tcp", opened[len(opened)-1])
	c.Echo(t, "hello")
	c.Close()
	c.End(t)
	fewDescriptors()
	m.Baseline(t) // some listeners are among the master's descriptors while they are used
}

// More services than the process may have descriptors are one line at the start, and
// at a reload, which changes nothing.
func TestTooFewDescriptorsForServices(t *testing.T) {
	t.Parallel()
	prlimit := systest.Need(t, "prlimit")
	const limit, few, many = 400, 150, 350
	says := fmt.Sprintf("bind: RLIMIT_NOFILE is %d, and %d open files are needed at least, %d of them for listening sockets (ulimit -Hn, LimitNOFILE= of a unit)", limit, many+100, many)
	limited := []string{prlimit, fmt.Sprintf("--nofile=%d", limit)}

	config := filepath.Join(systest.Dir(t), "many.toml")
	if err := os.WriteFile(config, []byte(servicesText(many)), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(limited[0], append(limited[1:], systest.Preforkd(t), "serve", "--config", config, "--log-format", "json", "--control", "none")...)
	cmd.Env = bareEnvironment(t)
	var out bytes.Buffer
	cmd.Stderr = &out
	err := cmd.Run()
	if exit, _ := errors.AsType[*exec.ExitError](err); exit == nil || exit.ExitCode() != 1 {
		t.Errorf("%v", err)
	}
	oneLine(t, out.String())
	if !strings.Contains(out.String(), says) {
		t.Errorf("%s", out.String())
	}

	m := systest.Options{Config: servicesText(few), Listeners: few, Wrap: limited}.Start(t)
	if e := m.Reload(t, servicesText(many)); e.Msg != systest.NotReloaded || e.Error != says {
		t.Errorf("%s", e.Line)
	}
	if e := m.Reload(t, servicesText(few+1)); e.Msg != systest.Reloaded || e.Added != fmt.Sprintf("s%d", few) {
		t.Errorf("%s", e.Line)
	}
	m.Baseline(t)
}
