package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

func mkfifo(t *testing.T, path string) {
	t.Helper()
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A FIFO into which nobody writes ends the start with a line that says so; one
// into which a shell writes is a configuration.
func TestConfigurationInAFIFO(t *testing.T) {
	t.Parallel()
	dir := systest.Dir(t)
	empty, file := filepath.Join(dir, "fifo"), filepath.Join(dir, "file")
	mkfifo(t, empty)
	if err := os.WriteFile(file, []byte(single(catting)), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"check", "serve"} {
		r := systest.Run(t, command, "--config", empty)
		if want := "preforkd: read configuration: " + empty + ": nobody has written into this FIFO within 10s\n"; r.Code != 2 || r.Stderr != want {
			t.Errorf("%s: %+v", command, r)
		}
	}
	want := systest.Run(t, "check", "--config", file)
	for shell, line := range map[string]string{
		"sh":   `cat ` + file + ` | "$0" check --config /dev/stdin`,
		"bash": `exec "$0" check --config <(cat ` + file + `)`,
	} {
		systest.Need(t, shell)
		r := systest.Options{Wrap: []string{shell, "-c", line}}.Run(t)
		if r != want || r.Code != 0 {
			t.Errorf("%s: %+v", shell, r)
		}
	}
}

// A FIFO in the place of the configuration keeps no reload from coming to an end,
// nor the ones after it, and the status shows it.
func TestReloadOfAFIFO(t *testing.T) {
	t.Parallel()
	ports := held(t, 1)
	text := at("one", ports, catting)
	m := configured(t, 1, text)
	if err := os.Remove(m.Config); err != nil {
		t.Fatal(err)
	}
	mkfifo(t, m.Config)
	m.Signal(t, syscall.SIGHUP)
	c := m.Dial(t)
	c.Echo(t, "served meanwhile")
	c.Close()
	want := m.Config + ": nobody has written into this FIFO within 10s"
	if e := m.WaitFor(t, systest.Is(systest.NotReloaded)); !strings.Contains(e.Error, want) {
		t.Errorf("%s", e.Line)
	}
	if s := looked(t, m); !strings.Contains(s.Master.NotReloaded, want) {
		t.Errorf("%+v", s.Master)
	}
	if r := ran(t, m, "status"); !strings.Contains(strings.Join(strings.Fields(r.Stdout), " "), "not reloaded: read configuration: "+want) {
		t.Errorf("%+v", r)
	}
	r := ran(t, m, "reload")
	if r.Code != 1 || !strings.Contains(r.Stderr, want) {
		t.Errorf("%+v", r)
	}
	m.Wait(t, 2, systest.Is(systest.NotReloaded)) // the log may be behind
	if err := os.Remove(m.Config); err != nil {
		t.Fatal(err)
	}
	if e := reloaded(t, m, text+"max-connections = 7\n"); e.Changed != "one" {
		t.Errorf("%s", e.Line)
	}
	if s := looked(t, m); s.Master.NotReloaded != "" || len(s.Master.Problems) > 0 {
		t.Errorf("%+v", s.Master)
	}
}

// hang mounts a file system over a directory that never answers, and returns the
// function that ends it. Whoever waits for it gets an error then.
func hang(t *testing.T, dir string) (end func()) {
	t.Helper()
	systest.NeedRoot(t)
	server, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		systest.Skip(t, "needs /dev/fuse")
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", server)
	if err := unix.Mount("hanging", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		unix.Close(server)
		systest.Skip(t, "needs the right to mount: "+err.Error())
	}
	ended := false
	end = func() {
		if !ended {
			ended = true
			unix.Close(server)
			if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(end)
	return end
}

// While the file system of the configuration does not answer, reloads are
// answered, and everything else goes on; when it does, a reload works again.
func TestReloadFromAHangingFileSystem(t *testing.T) {
	t.Parallel()
	ports := held(t, 1)
	m := configured(t, 1, at("one", ports, catting))
	threads := func() int {
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", m.PID))
		if err != nil {
			t.Fatal(err)
		}
		return len(tasks)
	}
	end := hang(t, filepath.Dir(m.Config))
	r := ran(t, m, "reload")
	if want := m.Config + " could not be read within 10s; its file system does not answer\n"; r.Code != 1 || !strings.HasSuffix(r.Stderr, want) {
		t.Errorf("%+v", r)
	}
	before := threads()
	for range 20 {
		r := ran(t, m, "reload")
		if r.Code != 1 || !strings.Contains(r.Stderr, m.Config+" is still being read since ") {
			t.Fatalf("%+v", r)
		}
	}
	if after := threads(); after > before+5 {
		t.Errorf("%d threads before and %d after: each reload hangs in another one", before, after)
	}
	c := m.Dial(t)
	c.Echo(t, "served meanwhile")
	c.Close()
	if r := ran(t, m, "status", "--check"); r.Code != exitDegraded || !strings.Contains(r.Stdout, "degraded: the configuration is still being read since ") {
		t.Errorf("%+v", r)
	}
	end()
	// The thread that hung tells that it has ended in its own time.
	systest.Until(t, "reloaded", func() bool { return ran(t, m, "reload").Code == 0 }, nil)
	if r := ran(t, m, "status", "--check"); r.Code != exitOK {
		t.Errorf("%+v", r)
	}
}

// What a configuration names may be on such a file system, too. A reload of
// another configuration then works at once.
func TestReloadOfAProgramOnAHangingFileSystem(t *testing.T) {
	t.Parallel()
	ports := held(t, 1)
	good := at("one", ports, catting)
	m := configured(t, 1, good)
	mounted := systest.Dir(t)
	end := hang(t, mounted)
	m.WriteConfig(t, good+"directory = \""+mounted+"/here\"\n")
	r := ran(t, m, "reload")
	if r.Code != 1 || !strings.Contains(r.Stderr, "not reloaded yet: a reload has been under way since ") {
		t.Errorf("%+v", r)
	}
	m.WaitFor(t, systest.Is("reload overdue"))
	if r := ran(t, m, "status", "--check"); r.Code != exitDegraded || !strings.Contains(r.Stdout, "degraded: a reload has been under way since ") {
		t.Errorf("%+v", r)
	}
	if e := reloaded(t, m, good+"max-connections = 7\n"); e.Changed != "one" {
		t.Errorf("%s", e.Line)
	}
	c := m.Dial(t)
	c.Echo(t, "hello")
	c.Close()
	end()
	systest.Until(t, "the reload that was given up has ended", func() bool {
		return ran(t, m, "status", "--check").Code == exitOK
	}, nil)
	if n := len(m.Events(systest.Is(systest.NotReloaded))); n != 0 {
		t.Errorf("%d reloads have failed, want none: what was given up is ignored", n)
	}
}
