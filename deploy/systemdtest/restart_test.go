package systemdtest

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

const restarts = 3

// "systemctl restart" under load: no connection is refused, none is lost. In
// this form systemd has the listeners all along.
func TestRestartWithSocketUnit(t *testing.T) {
	s := setup(t, cat, map[string]string{socketUnit: "[Socket]\nListenStream=/run/preforkd/echo.sock\n"})
	s.systemctl(t, "start", socketUnit)
	s.restartUnderLoad(t)
}

// In this form the master leaves its listeners with systemd when it stops.
func TestRestartWithStore(t *testing.T) {
	s := setup(t, `
[service.echo]
listen  = ["127.0.0.1:7007", "unix:/run/preforkd/echo.sock"]
program = ["/bin/cat"]
`, nil)
	s.start(t)
	s.is(t, "NFileDescriptorStore", "2")
	s.restartUnderLoad(t)
	s.is(t, "NFileDescriptorStore", "2")
}

func (s *service) restartUnderLoad(t *testing.T) {
	t.Helper()
	l := s.startLoad(t, 8, [2]string{"tcp", address}, [2]string{"unix", "/run/preforkd/echo.sock"})
	for range restarts {
		before := s.mainPID(t)
		s.systemctl(t, "restart", unit)
		if s.mainPID(t) == before {
			t.Error("it is the same master")
		}
		l.more(t, 40)
	}
	l.check(t)
	if got := s.show(t, "NRestarts"); got != "0" {
		t.Errorf("systemd has restarted it %s times by itself", got)
	}
}

// Whoever comes while the old master drains waits, and is served by the next.
func TestRestartDuringTransfer(t *testing.T) {
	s := setup(t, cat, nil)
	s.start(t)
	old := s.dial(t)
	old.echo(t, "before")
	s.systemctl(t, "restart", "--no-block", unit)
	s.is(t, "SubState", "stop-sigterm")
	next := s.dial(t)
	old.echo(t, "during")
	old.Close()
	next.echo(t, "after")
	s.is(t, "ActiveState", "active")
}

// Listeners that the configuration no longer has are not kept, and not
// listened at after a restart, either.
func TestStoreForgets(t *testing.T) {
	two := `
[service.echo]
listen  = ["127.0.0.1:7007", "127.0.0.1:7008"]
program = ["/bin/cat"]
`
	s := setup(t, two, nil)
	s.start(t)
	s.is(t, "NFileDescriptorStore", "2")
	s.once(t, "127.0.0.1:7008")

	// By a reload.
	s.configure(t, cat)
	s.reload(t)
	s.is(t, "NFileDescriptorStore", "1")
	s.refused(t, "127.0.0.1:7008")
	s.systemctl(t, "restart", unit)
	s.refused(t, "127.0.0.1:7008")
	s.once(t, address)

	// And back, which a reload stores, too.
	s.configure(t, two)
	s.reload(t)
	s.is(t, "NFileDescriptorStore", "2")
	s.once(t, "127.0.0.1:7008")

	// By a restart.
	s.configure(t, cat)
	s.systemctl(t, "restart", unit)
	s.is(t, "NFileDescriptorStore", "1")
	s.refused(t, "127.0.0.1:7008")
	s.once(t, address)

	// Not even where they are in the way of what is wanted now.
	s.configure(t, strings.ReplaceAll(cat, "127.0.0.1:7007", "0.0.0.0:7007"))
	s.systemctl(t, "restart", unit)
	s.is(t, "NFileDescriptorStore", "1")
	s.once(t, address)
}

// once has an address serve a connection that is over then.
func (s *service) once(t *testing.T, address string) {
	t.Helper()
	c := s.dialTo(t, "tcp", address)
	c.echo(t, "hello")
	c.Close()
}

// refused waits until nobody listens at an address.
func (s *service) refused(t *testing.T, address string) {
	t.Helper()
	until(t, "nobody listens at "+address, func() bool {
		c, err := dial(t.Context(), s.Machine, "tcp", address)
		if err == nil {
			c.Close()
		}
		return err != nil
	}, nil)
}

// A stop is an end: the listeners are closed, and those who come are told.
func TestStopCloses(t *testing.T) {
	s := setup(t, cat, nil)
	s.start(t)
	s.systemctl(t, "stop", unit)
	s.refused(t, address)
	s.start(t)
	s.dial(t).echo(t, "hello")
}

// kill -9 of the master: its workers go with it, it is started again, and the
// listeners have been there all along.
func TestKill(t *testing.T) {
	for name, first := range map[string]string{"socket unit": socketUnit, "store": unit} {
		t.Run(name, func(t *testing.T) {
			s := setup(t, cat, nil)
			s.systemctl(t, "start", first)
			c := s.dial(t)
			c.echo(t, "hello")
			master, worker := s.mainPID(t), s.onlyWorker(t)
			kill(t, master, syscall.SIGKILL)
			until(t, "the worker is gone", func() bool { return !alive(worker) }, nil)
			// Before the next master there is none, but there is a queue.
			s.dial(t).echo(t, "after")
			s.is(t, "ActiveState", "active")
			if s.mainPID(t) == master {
				t.Error("it is the same master")
			}
			if got := s.show(t, "NRestarts"); got != "1" && first == unit {
				t.Errorf("it was restarted %s times", got)
			}
		})
	}
}

// A master that no longer does anything is found by the watchdog, ended, and
// started again. Clients who come before it is wait.
func TestWatchdog(t *testing.T) {
	s := setup(t, cat, map[string]string{unit: "[Service]\nWatchdogSec=2s\n"})
	s.start(t)
	s.once(t, address)
	master := s.mainPID(t)
	kill(t, master, syscall.SIGSTOP)
	// Not before its end: to end it, systemd lets it run once more, and who has
	// been accepted then is lost with it.
	until(t, "the master is gone", func() bool { return !alive(master) }, nil)
	s.dial(t).echo(t, "patience")
	s.is(t, "ActiveState", "active")
	if s.mainPID(t) == master {
		t.Error("it is the same master")
	}
	s.await(t, "_PID=1", "Watchdog timeout")
}

// One that does its work is left alone, however little there is to do.
func TestWatchdogIsFed(t *testing.T) {
	s := setup(t, cat, map[string]string{unit: "[Service]\nWatchdogSec=2s\n"})
	s.start(t)
	master := s.mainPID(t)
	// The time of the last ping moves, and then once more.
	for range 3 {
		last := s.show(t, "WatchdogTimestampMonotonic")
		until(t, "the watchdog has been fed again", func() bool {
			return s.show(t, "WatchdogTimestampMonotonic") != last
		}, nil)
	}
	if s.mainPID(t) != master || s.show(t, "NRestarts") != "0" {
		t.Error("it was restarted")
	}
}

func kill(t *testing.T, pid int, sig syscall.Signal) {
	t.Helper()
	process, err := os.FindProcess(pid)
	if err == nil {
		err = process.Signal(sig)
		process.Release()
	}
	if err != nil {
		t.Fatal("signal process " + strconv.Itoa(pid) + ": " + err.Error())
	}
}
