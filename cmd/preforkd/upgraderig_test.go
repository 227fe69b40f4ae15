package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// The names of the events of an upgrade.
const (
	upgrading   = "upgrading"
	upgraded    = "upgraded"
	notUpgraded = "not upgraded"
)

// The versions that upgrades go between.
var versionOne, versionTwo = systest.Versions[0], systest.Versions[1]

// An installation is a directory with preforkd and preforkd-worker.
type installation struct{ dir string }

// install makes an installation of a version.
func install(t *testing.T, version string) installation {
	t.Helper()
	i := installation{systest.Dir(t)}
	i.replace(t, version)
	return i
}

func (i installation) preforkd() string { return filepath.Join(i.dir, "preforkd") }

// replace puts another version in place as dpkg(1) does: the file is written beside the
// old one, and takes its name when it is complete. What runs keeps the old file.
func (i installation) replace(t *testing.T, version string) {
	t.Helper()
	for _, name := range []string{"preforkd-worker", "preforkd"} {
		path := filepath.Join(i.dir, name)
		systest.CopyProgram(t, filepath.Join(systest.Versioned(t, version), name), path+".dpkg-new")
		if err := os.Rename(path+".dpkg-new", path); err != nil {
			t.Fatal(err)
		}
	}
}

// fault has this installation fail, see package fault of master/upgrade. "" takes the
// fault back.
func (i installation) fault(t *testing.T, text string) {
	t.Helper()
	path := i.preforkd() + ".fault"
	if text == "" {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// An outcome is what an upgrade ended with, by all accounts.
type outcome struct {
	event  systest.Event // "upgraded" or "not upgraded"
	result systest.Result
}

// isOutcome matches the events that end an upgrade.
func isOutcome(e systest.Event) bool { return e.Msg == upgraded || e.Msg == notUpgraded }

// upgradeMaster runs "preforkd upgrade" and waits for the outcome in the log, if there is to
// be one: a mistake of the request is only answered.
func upgradeMaster(t *testing.T, m *systest.Master, args ...string) outcome {
	t.Helper()
	before := len(m.Events(isOutcome))
	o := outcome{result: ran(t, m, append([]string{"upgrade"}, args...)...)}
	if o.result.Code == 0 || strings.Contains(o.result.Stderr, notUpgraded) {
		o.event = m.Wait(t, before+1, isOutcome)[before]
	}
	return o
}

// upgradeTo has a master become what is installed where it was started from, and fails
// unless that serves then in the same process. It says SIGUSR2 or runs the command.
func upgradeTo(t *testing.T, m *systest.Master, version string, bySignal bool) {
	t.Helper()
	before := looked(t, m).Master
	if bySignal {
		n := len(m.Events(isOutcome))
		m.Signal(t, syscall.SIGUSR2)
		if e := m.Wait(t, n+1, isOutcome)[n]; e.Msg != upgraded {
			t.Fatalf("%s", e.Line)
		}
	} else if o := upgradeMaster(t, m); o.result.Code != 0 || o.event.Msg != upgraded {
		t.Fatalf("exit code %d, %s%s\n%s", o.result.Code, o.result.Stdout, o.result.Stderr, o.event.Line)
	}
	after := looked(t, m).Master
	if after.Version != version || after.PID != m.PID || after.Generation != before.Generation+1 ||
		after.Upgrades.Count != before.Upgrades.Count+1 || after.Upgrades.Failed != before.Upgrades.Failed ||
		!after.Started.Equal(before.Started) {
		t.Fatalf("want version %q; before %+v\nafter %+v", version, before, after)
	}
	if exe := systest.Executable(m.PID); !strings.HasPrefix(exe, "/") || strings.Contains(exe, "deleted") {
		t.Errorf("the new master runs %q", exe)
	}
}

// refusesUpgrade has a master try an upgrade that must fail, and holds that the old one goes on
// as it was, and says why wherever it says something.
func refusesUpgrade(t *testing.T, m *systest.Master, reason string, args ...string) {
	t.Helper()
	before := looked(t, m).Master
	o := upgradeMaster(t, m, args...)
	if o.result.Code != 1 || !strings.Contains(o.result.Stderr, reason) {
		t.Fatalf("exit code %d, want 1 and %q: %s%s", o.result.Code, reason, o.result.Stdout, o.result.Stderr)
	}
	oneLine(t, o.result.Stderr)
	if o.event.Msg != notUpgraded || !strings.Contains(o.event.Line, strings.Trim(fmt.Sprintf("%q", reason), `"`)) {
		t.Errorf("want %q: %s", reason, o.event.Line)
	}
	after := looked(t, m).Master
	last := after.Upgrades.LastFailure
	if after.Version != before.Version || after.PID != m.PID || after.Generation != before.Generation ||
		after.Upgrades.Count != before.Upgrades.Count || after.Upgrades.Failed != before.Upgrades.Failed+1 ||
		last == nil || last.Step == "" || !strings.Contains(last.Reason, reason) {
		t.Errorf("want %q; before %+v\nafter %+v, %+v", reason, before, after, last)
	}
}

// A snapshot is what a master is made of, as the kernel sees it.
type snapshot struct {
	fds      []string
	children []string
	threads  int
}

// takeSnapshot leaves out what a master has for a moment: pidfds of what it has started,
// and clients of its control socket.
func takeSnapshot(m *systest.Master) (s snapshot) {
	for _, fd := range systest.FDs(m.PID) {
		if fd.PID == 0 && !isControlClient(m, fd) {
			s.fds = append(s.fds, fd.String())
		}
	}
	for _, p := range systest.Children(m.PID) {
		zombie := ""
		if p.State == 'Z' {
			zombie = " zombie"
		}
		s.children = append(s.children, fmt.Sprint(p.PID, zombie))
	}
	slices.Sort(s.children)
	s.threads = systest.ReadStatus(m.PID).Threads
	return s
}

// isControlClient reports whether a descriptor is a connection to the control socket.
func isControlClient(m *systest.Master, fd systest.FD) bool {
	if !strings.HasPrefix(fd.Target, "socket:") {
		return false
	}
	s, err := systest.DuplicateSocket(m.PID, fd.Number)
	if err != nil {
		return true // it has gone
	}
	defer s.Close()
	return s.Option(unix.SOL_SOCKET, unix.SO_DOMAIN) == unix.AF_UNIX && s.Option(unix.SOL_SOCKET, unix.SO_TYPE) == unix.SOCK_STREAM &&
		s.Option(unix.SOL_SOCKET, unix.SO_ACCEPTCONN) == 0
}

// unchanged waits until a master is what it was, but for threads that it has needed
// meanwhile: Go keeps those.
func unchanged(t *testing.T, m *systest.Master, before snapshot) {
	t.Helper()
	var now snapshot
	systest.Until(t, "the master is what it was", func() bool {
		now = takeSnapshot(m)
		return slices.Equal(now.fds, before.fds) && slices.Equal(now.children, before.children) && now.threads <= before.threads+moreThreads
	}, func() string { return fmt.Sprintf("%+v\nwas\n%+v", now, before) })
}

// moreThreads is how many threads Go may start that it did not need at first.
const moreThreads = 8
