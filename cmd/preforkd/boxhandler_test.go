package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/control"
)

// A worker's box, as it is seen from outside.
type seenBox struct {
	uid          int
	ownNetwork   bool
	ownMounts    bool
	capabilities string // of the bounding set
	told         bool   // that it is confined by the box
	filters      string
}

func seeBox(t *testing.T, pid int) (b seenBox) {
	t.Helper()
	read := func(name string) string {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for line := range strings.Lines(read("status")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
		switch name {
		case "Uid":
			fmt.Sscan(value, &b.uid)
		case "CapBnd":
			b.capabilities = value
		case "Seccomp_filters":
			b.filters = value
		}
	}
	differs := func(namespace string) bool {
		own, err := os.Readlink("/proc/self/ns/" + namespace)
		theirs, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, namespace))
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		return own != theirs
	}
	b.ownNetwork, b.ownMounts = differs("net"), differs("mnt")
	b.told = strings.HasSuffix(read("cmdline"), "\x00"+ipc.ArgumentBoxed+"\x00")
	return b
}

// A built-in handler is in a box without a word in the configuration, however its worker
// comes to its connection, and wherever the worker binary is.
func TestHandlerBox(t *testing.T) {
	t.Parallel()
	needBoxes(t)
	hidden := filepath.Join(systest.Dir(t), "preforkd-worker")
	systest.CopyProgram(t, systest.PreforkdWorker(t), hidden)
	if err := os.Chmod(filepath.Dir(hidden), 0o700); err != nil {
		t.Fatal(err)
	}
	for how, flags := range map[string]string{
		"spawned": "", "spare": "--spares 2", "reused": "--spares 2 --connections-per-worker 5",
		"in a directory of root's below /tmp": "--worker-binary " + hidden,
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			m := systest.Start(t, strings.Fields(flags)...)
			uids := map[int]bool{}
			var live []*systest.Client
			for range 2 {
				c := dialSome(t, m)
				c.Echo(t, "hello")
				b := seeBox(t, c.Worker(t))
				if b.uid < 61440 || b.uid > 65519 || !b.ownNetwork || !b.ownMounts || strings.Trim(b.capabilities, "0") != "" || !b.told || b.filters != "2" {
					t.Errorf("the worker has %+v", b)
				}
				if uids[b.uid] {
					t.Errorf("two live connections have the user %d", b.uid)
				}
				uids[b.uid] = true
				live = append(live, c)
			}
			for _, c := range live {
				c.CloseWrite(t)
				c.ExpectEnd(t)
				if e := c.End(t); e.Reason != "eof" {
					t.Errorf("the end is %s", e.Line)
				}
			}
			if n := len(m.Events(systest.Is("box incomplete"))); n > 0 {
				t.Errorf("the log says %d times that a box is incomplete", n)
			}
		})
	}
}

// Whoever has taken over a handler, and has got around what the worker denies itself, is
// still in the box: the probe stands in for the worker binary.
func TestEscapesFromHandlerBox(t *testing.T) {
	t.Parallel()
	needBoxes(t)
	b := &boxed{dir: visibleDir(t)}
	probe := filepath.Join(b.dir, "preforkd-worker")
	systest.CopyProgram(t, systest.Program(t, "cmd/internal/systest/boxprobe"), probe)
	b.Master = systest.Options{Config: single(`handler = "echo"`), Args: []string{"--worker-binary", probe}}.Start(t)
	world := newOutside(t, b)
	neighbour := b.dial(t, "one")
	if _, errno := neighbour.try(t, "read /etc/passwd"); !isOneOf(errno, "EPERM") {
		t.Errorf("a file that everybody may read: %s", errno)
	}
	pid := fmt.Sprint(neighbour.Worker(t))
	for _, list := range escapes {
		for _, e := range list {
			attempt := strings.NewReplacer("$NEIGHBOUR", pid).Replace(world.Replace(e.attempt))
			p := b.dial(t, "one")
			p.fails(t, attempt, e.strict+" EPERM ENOSYS ENOENT")
			p.Close()
		}
	}
}

// What is the default only may be missing: the service is served as it always was, and
// that is said once. What is written may not.
func TestHandlerBoxMissing(t *testing.T) {
	t.Parallel()
	unreadable := filepath.Join(systest.Dir(t), "preforkd-worker")
	systest.CopyProgram(t, systest.PreforkdWorker(t), unreadable)
	if err := os.Chmod(unreadable, 0o700); err != nil {
		t.Fatal(err)
	}
	nobody := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	const admin, users = "needs CAP_SYS_ADMIN", "dynamic-user: needs "
	for how, c := range map[string]struct {
		options systest.Options
		error   []string
		uid     int
		missing bool // other parts than the user
	}{
		"ordinary user":       {systest.Options{Attr: nobody}, []string{users + "CAP_SETUID and CAP_SETGID", admin}, 65534, true},
		"no CAP_SYS_ADMIN":    {systest.Options{Wrap: withoutAdmin(t)}, []string{admin}, -1, true},
		"binary of root's":    {systest.Options{Args: []string{"--worker-binary", unreadable}}, []string{users + "a worker binary that every user may execute: chmod a+x " + unreadable}, 0, false},
		"user is configured":  {systest.Options{Args: []string{"--user", "nobody"}}, nil, 65534, false},
		"a tool starts it":    {systest.Options{Args: []string{"--wrap", "env A=1"}}, nil, 0, true},
		"it is turned off":    {systest.Options{Args: []string{"--box-preset", "none"}}, nil, 0, true},
		"a directory is gone": {systest.Options{Args: []string{"--directory", "/root"}}, nil, -1, false},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			needBoxes(t)
			m := c.options.Start(t)
			client := m.Dial(t)
			client.Echo(t, "hello")
			events := m.Events(systest.Is("box incomplete"))
			if want := min(len(c.error), 1); len(events) != want {
				t.Errorf("the log says %d times that a box is incomplete, want %d", len(events), want)
			}
			for _, e := range events {
				if !strings.Contains(e.Line, `"level":"info"`) || !strings.Contains(e.Line, `"services":["echo"]`) {
					t.Errorf("the event is %s", e.Line)
				}
				for _, part := range c.error {
					if !strings.Contains(e.Error, part) {
						t.Errorf("%q is not in %q", part, e.Error)
					}
				}
			}
			b := seeBox(t, client.Worker(t))
			if c.uid >= 0 && b.uid != c.uid || b.ownMounts == c.missing || b.ownNetwork == c.missing {
				t.Errorf("the worker has %+v", b)
			}
			// The worker does for itself what it always did.
			s := systest.ReadStatus(client.Worker(t))
			if !s.NoNewPrivs || s.Seccomp != unix.SECCOMP_MODE_FILTER || b.told != (how == "a directory is gone") {
				t.Errorf("the worker is not confined: %+v, %+v", s, b)
			}
			client.CloseWrite(t)
			client.ExpectEnd(t)
		})
	}
	r := systest.Options{Wrap: withoutAdmin(t)}.Run(t, "serve", "--listen", "127.0.0.1:0", "--box-private-network")
	if r.Code != exitFailure || !strings.HasPrefix(r.Stderr, "preforkd: service echo: box: private-network: needs CAP_SYS_ADMIN") || strings.Count(r.Stderr, "\n") != 1 {
		t.Errorf("what is written may be missing: %d, %q", r.Code, r.Stderr)
	}
}

// Services that lack the same have one line, the status has each, and check --box says
// that it is a default.
func TestHandlerBoxMissingIsShown(t *testing.T) {
	t.Parallel()
	text := "[service.a]\nlisten = [\"127.0.0.1:0\"]\nhandler = \"echo\"\n[service.b]\nlisten = [\"127.0.0.1:0\"]\nhandler = \"echo\"\n" +
		boxedCat(`preset = "basic"`)
	o := systest.Options{Config: text, Wrap: withoutAdmin(t), Listeners: 3}
	m := o.Start(t)
	if e := m.Wait(t, 1, systest.Is("box incomplete")); len(e) != 1 || !strings.Contains(e[0].Line, `"services":["a","b"]`) {
		t.Errorf("the log has %+v", e)
	}
	r := systest.Run(t, "status", "--json", "--control", m.Control)
	var s control.Status
	if err := json.Unmarshal([]byte(r.Stdout), &s); err != nil {
		t.Fatalf("%v: %+v", err, r)
	}
	for _, service := range s.Services {
		i := slices.Index([]string{"a", "b", "one"}, service.Name)
		if b := service.Box; b == nil || (b.Summary == "default") != (i < 2) || (len(b.Missing) > 0) != (i < 2) {
			t.Errorf("service %s has %+v", service.Name, b)
		}
	}
	if r := systest.Run(t, "status", "--control", m.Control); !strings.Contains(r.Stdout, "default-") || !strings.Contains(r.Stdout, "a box lacks ") {
		t.Errorf("the status is %s", r.Stdout)
	}
	if e := m.Reload(t, text+"\n# again"); e.Msg != systest.Reloaded {
		t.Errorf("reload: %s", e.Line)
	}
	if n := len(m.Events(systest.Is("box incomplete"))); n != 1 {
		t.Errorf("the log says %d times that boxes are incomplete", n)
	}
	r = systest.Options{Wrap: withoutAdmin(t)}.Run(t, "check", "--config", m.Config, "--box", "a")
	if r.Code != 0 || !strings.Contains(r.Stdout, "missing, and only a default: ") || !strings.Contains(r.Stdout, "tried as root: default\n") {
		t.Errorf("check: %+v", r)
	}
	if r = systest.Run(t, "check", "--config", m.Config); !strings.Contains(r.Stdout, "# service.a: box default leaves open ") {
		t.Errorf("check: %+v", r)
	}
}
