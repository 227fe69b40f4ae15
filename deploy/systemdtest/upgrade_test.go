package systemdtest

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/nspawn"
	"github.com/preforkd/preforkd/master/control"
)

// Where the machine has its two versions of both programs. The one that is installed at
// first is kept. The other can be made to fail, see package fault of master/upgrade.
const (
	versionOne = "/opt/one"
	versionTwo = "/opt/two"
)

// installed says where the programs of a version's directory are installed.
var installed = map[string]string{
	"preforkd-worker": "/usr/local/lib/preforkd/preforkd-worker",
	"preforkd":        "/usr/local/bin/preforkd",
}

// faultFile says where version two fails.
const faultFile = "/usr/local/bin/preforkd.fault"

// versions are in the machine once a test needs them.
var versions struct {
	once sync.Once
	err  error
}

func addVersions(m *nspawn.Machine) error {
	// Tests write beside these programs, so they are not those that other packages share.
	if err := makeInstall(m.Path(versionTwo), "VERSION=two", "GOFLAGS=-tags=upgradefault", "build"); err != nil {
		return err
	}
	if err := os.MkdirAll(m.Path(versionOne), 0o755); err != nil {
		return err
	}
	for name, place := range installed {
		if err := copyProgram(m.Path(path.Join(versionOne, name)), m.Path(place)); err != nil {
			return err
		}
	}
	return nil
}

func copyProgram(to, from string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	destination, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(destination, source); err != nil {
		destination.Close()
		return err
	}
	return destination.Close()
}

// setupUpgrades is setup for tests that install other versions. When the test ends, the
// first one is installed again.
func setupUpgrades(t *testing.T, config string, dropIns map[string]string) *service {
	t.Helper()
	s := setup(t, config, dropIns)
	versions.once.Do(func() { versions.err = addVersions(s.Machine) })
	if versions.err != nil {
		t.Fatal(versions.err)
	}
	t.Cleanup(func() { s.install(t, versionOne) })
	return s
}

// install puts a version in the place of another as dpkg(1) does: a file is written beside
// the old one, and takes its name when it is complete. What runs keeps the old file.
func (s *service) install(t *testing.T, version string) {
	t.Helper()
	s.fault(t, "")
	for name, place := range installed {
		place = s.Path(place)
		if err := copyProgram(place+".dpkg-new", s.Path(path.Join(version, name))); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(place+".dpkg-new", place); err != nil {
			t.Fatal(err)
		}
	}
}

// fault has the installed program fail at a step ("serve panic"), if it is version two, in
// the process that is the master now. "" takes that back.
func (s *service) fault(t *testing.T, fault string) {
	t.Helper()
	if fault == "" {
		if err := os.RemoveAll(s.Path(faultFile)); err != nil {
			t.Fatal(err)
		}
		return
	}
	s.write(t, faultFile, fmt.Sprintf("%s %d\n", fault, s.showNumber(t, unit, "MainPID")))
}

// master returns what the master says of itself.
func (s *service) master(t *testing.T) control.Master {
	t.Helper()
	var status control.Status
	if err := json.Unmarshal([]byte(s.run(t, "preforkd", "status", "--json")), &status); err != nil {
		t.Fatal(err)
	}
	return status.Master
}

// upgrade has the master become the version that is installed, by a command or by
// systemctl, and holds that systemd has not noticed more than a reload.
func (s *service) upgrade(t *testing.T, command ...string) {
	t.Helper()
	pid, restarts, before := s.mainPID(t), s.show(t, "NRestarts"), s.master(t)
	s.run(t, command[0], command[1:]...)
	// At once: the command has waited.
	after := s.master(t)
	if after.Generation != before.Generation+1 || after.Upgrades.Count != before.Upgrades.Count+1 ||
		after.Upgrades.Failed != before.Upgrades.Failed || !after.Started.Equal(before.Started) || after.Version == before.Version {
		t.Errorf("before %+v\nafter %+v", before, after)
	}
	s.isSameProcess(t, pid, restarts)
}

// upgradeFails tries an upgrade after which the old program goes on, with a reason that has
// a text. The command and the journal say so.
func (s *service) upgradeFails(t *testing.T, reason string, command ...string) {
	t.Helper()
	pid, restarts, before := s.mainPID(t), s.show(t, "NRestarts"), s.master(t)
	told := len(s.journal(t, "PREFORKD_EVENT=not upgraded"))
	if out, err := s.try(t, command[0], command[1:]...); err == nil {
		t.Errorf("%q does not fail: %s", command, out)
	}
	after := s.master(t)
	if after.Generation != before.Generation || after.Upgrades.Failed != before.Upgrades.Failed+1 || after.Version != before.Version ||
		after.Upgrades.LastFailure == nil || !strings.Contains(after.Upgrades.LastFailure.Reason, reason) {
		t.Errorf("want %q; before %+v\nafter %+v, %+v", reason, before, after, after.Upgrades.LastFailure)
	}
	until(t, "the journal tells of it", func() bool {
		entries := s.journal(t, "PREFORKD_EVENT=not upgraded")
		return len(entries) == told+1 && strings.Contains(entries[told]["PREFORKD_REASON"], reason)
	}, nil)
	s.isSameProcess(t, pid, restarts)
}

func (s *service) isSameProcess(t *testing.T, pid int, restarts string) {
	t.Helper()
	if now := s.mainPID(t); now != pid {
		t.Errorf("the main process was %d and is %d", pid, now)
	}
	s.is(t, "ActiveState", "active")
	s.is(t, "SubState", "running")
	until(t, "the status is that of a master which serves", func() bool {
		return strings.HasPrefix(s.show(t, "StatusText"), "serving")
	}, nil)
	if now := s.show(t, "NRestarts"); now != restarts {
		t.Errorf("the unit was restarted %s times, and now %s", restarts, now)
	}
}

// executable returns what a process runs, with " (deleted)" if that is no longer there.
func executable(t *testing.T, pid int) string {
	t.Helper()
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		t.Fatal(err)
	}
	return link
}

// Both programs are replaced and the master upgraded, to and fro, under load: nobody is
// refused or cut, and systemd has the same listeners as before, for a restart.
func TestUpgrade(t *testing.T) {
	s := setupUpgrades(t, `
[service.echo]
listen  = ["127.0.0.1:7007", "unix:/run/preforkd/echo.sock"]
program = ["/bin/cat"]

[service.builtin]
listen  = ["127.0.0.1:7008"]
handler = "echo"
`, nil)
	s.notifications(t)
	s.start(t)
	s.is(t, "NFileDescriptorStore", "3")
	old := s.dialTo(t, "tcp", "127.0.0.1:7008")
	old.echo(t, "before")
	l := s.startLoad(t, 8, [2]string{"tcp", address}, [2]string{"unix", "/run/preforkd/echo.sock"})
	for _, version := range []string{versionTwo, versionOne, versionTwo} {
		s.install(t, version)
		// The old master still starts its own workers, whose file is gone.
		s.once(t, "127.0.0.1:7008")
		if exe := executable(t, s.mainPID(t)); !strings.HasSuffix(exe, " (deleted)") {
			t.Errorf("the old master runs %s", exe)
		}
		l.more(t, 20)
		s.upgrade(t, "preforkd", "upgrade")
		if exe := executable(t, s.mainPID(t)); exe != "/usr/local/bin/preforkd" {
			t.Errorf("the new master runs %s", exe)
		}
		old.echo(t, "and after")
		s.once(t, "127.0.0.1:7008")
		l.more(t, 20)
	}
	if got := s.master(t).Version; got != "two" {
		t.Errorf("the version is %q", got)
	}
	s.is(t, "NFileDescriptorStore", "3")
	s.notified(t, "READY=1", "RELOADING=1 MONOTONIC_USEC= STATUS=upgrading WATCHDOG=1", "READY=1")

	old.Close()
	s.systemctl(t, "restart", unit)
	l.more(t, 40)
	s.is(t, "NFileDescriptorStore", "3")
	s.once(t, "127.0.0.1:7008")
	l.check(t)
	if got := s.master(t); got.Generation != 1 || got.Version != "two" {
		t.Errorf("after a restart: %+v", got)
	}
}

// What a new program stores and removes is what the old one has stored, under the same
// names.
func TestUpgradeStore(t *testing.T) {
	two := `
[service.echo]
listen  = ["127.0.0.1:7007", "127.0.0.1:7008"]
program = ["/bin/cat"]
`
	s := setupUpgrades(t, two, nil)
	s.start(t)
	s.install(t, versionTwo)
	s.configure(t, strings.ReplaceAll(two, "7008", "7009"))
	s.upgrade(t, "preforkd", "upgrade") // reads the configuration, too
	s.is(t, "NFileDescriptorStore", "2")
	s.refused(t, "127.0.0.1:7008")
	s.once(t, "127.0.0.1:7009")
	s.once(t, address)
	s.configure(t, cat)
	s.reload(t)
	s.is(t, "NFileDescriptorStore", "1")
	s.refused(t, "127.0.0.1:7009")
	s.systemctl(t, "restart", unit)
	s.is(t, "NFileDescriptorStore", "1")
	s.refused(t, "127.0.0.1:7009")
	s.once(t, address)
}

// The sockets of a socket unit stay systemd's.
func TestUpgradeWithSocketUnit(t *testing.T) {
	s := setupUpgrades(t, cat, map[string]string{socketUnit: "[Socket]\nListenStream=/run/preforkd/echo.sock\n"})
	s.systemctl(t, "start", socketUnit)
	s.once(t, address)
	s.is(t, "ActiveState", "active")
	l := s.startLoad(t, 4, [2]string{"tcp", address}, [2]string{"unix", "/run/preforkd/echo.sock"})
	s.install(t, versionTwo)
	s.upgrade(t, "preforkd", "upgrade")
	l.more(t, 20)
	s.systemctl(t, "restart", unit)
	l.more(t, 20)
	l.check(t)
	s.install(t, versionOne)
	s.upgrade(t, "preforkd", "upgrade")
	// A stop ends what took over, and not the sockets.
	s.systemctl(t, "stop", unit)
	s.dial(t).echo(t, "again")
	s.is(t, "ActiveState", "active")
}

// Through upgrades, and through those that fail, the watchdog is fed.
func TestUpgradeWatchdog(t *testing.T) {
	s := setupUpgrades(t, cat, map[string]string{unit: "[Service]\nWatchdogSec=5s\n"})
	s.start(t)
	c := s.dial(t)
	isFed := func() {
		t.Helper()
		for range 2 {
			last := s.show(t, "WatchdogTimestampMonotonic")
			until(t, "the watchdog has been fed again", func() bool {
				return s.show(t, "WatchdogTimestampMonotonic") != last
			}, nil)
		}
		c.echo(t, "hello")
	}
	s.install(t, versionTwo)
	for _, step := range []string{"load error", "config error", "restore panic", "install error", "serve error"} {
		s.fault(t, step)
		step, _, _ := strings.Cut(step, " ")
		s.upgradeFails(t, "a fault at "+step, "preforkd", "upgrade")
		isFed()
	}
	for _, version := range []string{versionTwo, versionOne, versionTwo} {
		s.install(t, version)
		s.upgrade(t, "preforkd", "upgrade")
		isFed()
	}
	if timeouts := s.journal(t, "_PID=1", "UNIT="+unit, "PRIORITY=3"); len(timeouts) > 0 {
		t.Errorf("systemd has complained: %v", timeouts)
	}
}

// The watchdog of the unit has more patience than the way back, which a new program that
// hangs takes after ten seconds.
func TestUpgradeHangs(t *testing.T) {
	s := setupUpgrades(t, cat, nil)
	s.start(t)
	c := s.dial(t)
	s.install(t, versionTwo)
	s.fault(t, "serve hang")
	s.upgradeFails(t, "it did not serve within", "preforkd", "upgrade")
	c.echo(t, "hello")
	s.once(t, address)
}

// With the drop-in, a reload upgrades, and waits for that.
func TestUpgradeByReload(t *testing.T) {
	s := setupUpgrades(t, cat, map[string]string{unit: dropIn(t, "upgrade.conf")})
	s.start(t)
	c := s.dial(t)
	s.install(t, versionTwo)
	s.configure(t, cat+"\n[service.greet]\nlisten = [\"127.0.0.1:7008\"]\nprogram = [\"/bin/echo\", \"good day\"]\n")
	s.upgrade(t, "systemctl", "reload", unit)
	c.echo(t, "hello")
	if got := s.dialTo(t, "tcp", "127.0.0.1:7008").rest(t); got != "good day\n" {
		t.Errorf("the service that is new answers %q", got)
	}

	// Both what cannot take over and a bad file fail, and the unit goes on.
	s.fault(t, "serve error")
	s.upgradeFails(t, "a fault at serve", "systemctl", "reload", unit)
	s.fault(t, "")
	s.configure(t, "[service.echo]\nlisten = 7\n")
	s.upgradeFails(t, configFile+":1:", "systemctl", "reload", unit)
	c.echo(t, "hello")
	s.once(t, address)
	if got := s.dialTo(t, "tcp", "127.0.0.1:7008").rest(t); got != "good day\n" {
		t.Errorf("after failures it answers %q", got)
	}
}

// Of an upgrade that fails in the rehearsal, and of one that is refused, systemd is told as
// of any other: it may wait for it (Type=notify-reload).
func TestUpgradeNotifiesOfFailure(t *testing.T) {
	for name, fail := range map[string]func(*service, *testing.T){
		"rehearsal": func(s *service, t *testing.T) {
			s.upgradeFails(t, "", "preforkd", "upgrade", "--binary", "/bin/true")
		},
		"signal": func(s *service, t *testing.T) {
			s.configure(t, "[service.echo]\nlisten = 7\n")
			s.systemctl(t, "kill", "--kill-whom=main", "--signal=SIGUSR2", unit)
			s.await(t, "PREFORKD_EVENT=not upgraded", configFile)
		},
		"refused": func(s *service, t *testing.T) {
			// A program that says nothing keeps its rehearsal going for a while.
			s.install(t, versionTwo)
			s.write(t, faultFile, "rehearsal hang\n")
			answered := make(chan error, 1)
			go func() {
				_, err := s.Run(t.Context(), "preforkd", "upgrade")
				answered <- err
			}()
			s.await(t, "PREFORKD_EVENT=upgrading")
			s.systemctl(t, "kill", "--kill-whom=main", "--signal=SIGUSR2", unit)
			s.await(t, "PREFORKD_EVENT=not upgraded", "under way")
			s.notified(t, "READY=1", "RELOADING=1 MONOTONIC_USEC=", "READY=1")
			if err := <-answered; err == nil {
				t.Error("a program that says nothing has taken over")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := setupUpgrades(t, cat, nil)
			s.notifications(t)
			s.start(t)
			s.once(t, address)
			fail(s, t)
			s.notified(t, "READY=1", "RELOADING=1 MONOTONIC_USEC=", "READY=1")
			s.is(t, "ActiveState", "active")
			s.once(t, address)
		})
	}
}

// A new program that is killed before it serves can execute nothing: systemd starts the
// service again, with the same listeners, and who waited in their queues is served.
func TestUpgradeKilled(t *testing.T) {
	for name, first := range map[string]string{"socket unit": socketUnit, "store": unit} {
		t.Run(name, func(t *testing.T) {
			s := setupUpgrades(t, cat, nil)
			s.systemctl(t, "start", first)
			s.once(t, address)
			s.is(t, "ActiveState", "active")
			s.install(t, versionTwo)
			s.fault(t, "serve hang")
			master := s.mainPID(t)
			answered := make(chan error, 1)
			go func() {
				_, err := s.Run(t.Context(), "preforkd", "upgrade")
				answered <- err
			}()
			until(t, "the new program is executed", func() bool { return executable(t, master) == "/usr/local/bin/preforkd" }, nil)
			waiting := s.dial(t)
			if _, err := io.WriteString(waiting, "patience"); err != nil {
				t.Fatal(err)
			}
			kill(t, master, syscall.SIGKILL)
			if err := <-answered; err == nil || !strings.Contains(err.Error(), "without an answer") {
				t.Errorf("the command says %v", err)
			}
			waiting.expect(t, "patience")
			s.is(t, "ActiveState", "active")
			got := s.master(t)
			if got.Generation != 1 || got.Version != "two" || got.Upgrades.Failed != 1 {
				t.Errorf("after the kill: %+v", got)
			}
			steps := []string{"exec", "load", "config", "restore", "install", "serve"} // as far as it came by then
			if f := got.Upgrades.LastFailure; f == nil || !slices.Contains(steps, f.Step) || f.To != "two" || !strings.HasPrefix(f.Reason, "its process has died") {
				t.Errorf("of the upgrade it says %+v", f)
			}
			s.once(t, address)
			if first == unit {
				s.is(t, "NFileDescriptorStore", "1")
			}
		})
	}
}
