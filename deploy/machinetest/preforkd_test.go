package machinetest

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/preforkd/preforkd/ipc/slowtest"
)

const (
	unit     = "preforkd.service"
	address  = "127.0.0.1:7007" // of the service echo in the example
	unitFile = "/usr/local/lib/systemd/system/" + unit
	dropIns  = "/usr/local/share/doc/preforkd/drop-in/"
)

// deadline is how long anything may take inside; only what is broken takes as long.
func deadline() time.Duration { return slowtest.Scale(2 * time.Minute) }

// run runs a command that must succeed, and returns what it prints.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), deadline()) // also in a cleanup
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// startService starts the unit with drop-ins of deploy, and the configuration that is
// installed, which serves as it is. When the test ends, both are as before.
func startService(t *testing.T, names ...string) {
	t.Helper()
	prepareService(t, names...)
	run(t, "systemctl", "start", unit)
}

// ownDropIns is where tests place drop-ins of the unit.
const ownDropIns = "/run/systemd/system/" + unit + ".d"

// prepareService is startService without the start.
func prepareService(t *testing.T, names ...string) {
	t.Helper()
	const dir = ownDropIns
	for _, name := range names {
		text, err := os.ReadFile(dropIns + name)
		if err != nil {
			t.Fatal(err)
		}
		write(t, dir+"/"+name, string(text))
	}
	// The times of the unit are for machines that are not emulated.
	write(t, dir+"/slow.conf", "[Service]\nWatchdogSec=600\nTimeoutStopSec=600\n")
	run(t, "systemctl", "daemon-reload")
	t.Cleanup(func() {
		if t.Failed() {
			journal, _ := exec.Command("journalctl", "--no-pager", "--boot", "--unit="+unit).CombinedOutput()
			t.Logf("the journal:\n%s", journal)
		}
		for _, args := range [][]string{{"systemctl", "stop", unit}, {"rm", "-rf", dir}, {"systemctl", "daemon-reload"}} {
			if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
				t.Errorf("%v: %v\n%s", args, err, out)
			}
		}
	})
}

// write writes a file and makes its directory.
func write(t *testing.T, path, text string) {
	t.Helper()
	run(t, "mkdir", "-p", path[:strings.LastIndexByte(path, '/')])
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// configure gives preforkd another configuration until the test ends.
func configure(t *testing.T, text string) {
	t.Helper()
	const file = "/etc/preforkd/preforkd.toml"
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, text)
	t.Cleanup(func() { write(t, file, string(before)) })
}

// dial connects to the service. Everything on the connection fails after the deadline;
// it is closed when the test ends.
func dial(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(deadline()))
	return c
}

// dialEcho connects to the service and has some bytes echoed. The connection stays
// open until the test ends.
func dialEcho(t *testing.T) {
	t.Helper()
	c := dial(t)
	const want = "hello\n"
	got := make([]byte, len(want))
	if _, err := io.WriteString(c, want); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("the echo is %q, %v", got, err)
	}
}

// show returns a property of the unit.
func show(t *testing.T, property string) string {
	t.Helper()
	return strings.TrimSpace(run(t, "systemctl", "show", "--value", "--property="+property, unit))
}

// workers returns the pids of the master's children.
func workers(t *testing.T) []string {
	t.Helper()
	return strings.Fields(run(t, "sh", "-c", fmt.Sprintf("cat /proc/%s/task/*/children", show(t, "MainPID"))))
}

// TestService shows that the unit serves on the systemd and the kernel of this machine.
func TestService(t *testing.T) {
	Run(t, func(t *testing.T) {
		startService(t)
		dialEcho(t)
		if got := show(t, "ActiveState"); got != "active" {
			t.Errorf("the unit is %s", got)
		}
	})
}

// TestMonitorOfTheUnit shows that the master of the unit, which has no capability, has made
// Go's monitor nap for longer: it was executed once more, and systemd did not notice.
func TestMonitorOfTheUnit(t *testing.T) {
	Run(t, func(t *testing.T) {
		startService(t)
		dialEcho(t)
		pid := show(t, "MainPID")
		// The monitor is the second thread. ls sorts nothing with -U, and the kernel lists
		// threads in the order in which they were made.
		script := fmt.Sprintf(`for t in $(ls -U /proc/%s/task | head -n 2); do cat /proc/$t/timerslack_ns; done; cat /proc/%[1]s/comm`, pid)
		if got := run(t, "sh", "-c", script); got != "50000\n200000\npreforkd\n" {
			t.Errorf("the slack of the main thread and the monitor, and the name, are %q", got)
		}
		// Each start counts for systemd, and an exec is none.
		if got := show(t, "NRestarts"); got != "0" {
			t.Errorf("the unit was restarted %s times", got)
		}
		for _, worker := range workers(t) {
			if got := run(t, "sh", "-c", "cat /proc/"+worker+"/timerslack_ns; tr '\\0' '\\n' </proc/"+worker+"/environ | grep -c SLACK || true"); got != "200000\n0\n" {
				t.Errorf("a worker has the slack and this many variables about it: %q", got)
			}
		}
	})
}
