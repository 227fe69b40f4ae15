package unit

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/proc"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/server"
)

// On one machine, each of the units serves connections, in processes that are
// confined as its options say, and is gone when it has been stopped.
func TestUnits(t *testing.T) {
	need(t)
	children, err := proc.Adopt()
	if err != nil {
		t.Fatal(err)
	}
	defer children.Close()
	build, err := server.Compile(t.Context(), children, t.TempDir(), "/nonexistent", server.Libc)
	if err != nil {
		t.Fatal(err)
	}
	m := New(children, t.Logf)
	defer func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}()
	// As in /proc/PID/status. Capabilities of the plain one are those of the
	// container; as for filters of system calls, it has one itself.
	for name, want := range map[string]map[string]func(string) bool{
		"systemd-accept": {
			"NoNewPrivs": is("0"),
			"CapBnd":     not(strings.Repeat("0", 16)),
			"Uid":        is("0\t0\t0\t0"),
		},
		"systemd-sandbox": {
			"NoNewPrivs": is("1"),
			"CapBnd":     is(strings.Repeat("0", 16)),
			"CapEff":     is(strings.Repeat("0", 16)),
			"Uid":        not("0\t0\t0\t0"),
			"Seccomp":    is("2"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			port, err := proc.FreePort()
			if err != nil {
				t.Fatal(err)
			}
			s, err := m.Serve(t.Context(), name, unitOf(t, build, name, port), port)
			if err != nil {
				t.Fatal(err)
			}
			tryUnit(t, m, s, port, want)
			s.Stop()
			if left := workers(m.machine.Leader); len(left) > 0 {
				t.Errorf("processes %v are left", left)
			}
			if err := s.Alive(); err == nil || !strings.Contains(err.Error(), "stopped") {
				t.Errorf("after its end it says %v", err)
			}
			if units, err := m.machine.Run(t.Context(), "systemctl", "list-units", "--all", "--plain", "--no-legend", name+"*"); units != "" || err != nil {
				t.Errorf("units are left, %v:\n%s", err, units)
			}
		})
	}
}

// tryUnit speaks to a unit, and looks at its worker and at its cost meanwhile.
func tryUnit(t *testing.T, m *Machine, s *Server, port int, want map[string]func(string) bool) {
	before, err := s.Cost()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	echo(t, conn, "a line\n")
	found := workers(m.machine.Leader)
	if len(found) != 1 {
		t.Fatalf("the workers are %v, want one", found)
	}
	status := statusOf(t, found[0])
	for key, holds := range want {
		if !holds(status[key]) {
			t.Errorf("%s of the worker is %q", key, status[key])
		}
	}
	// What the sandbox adds to the filters of the container.
	if filters, outside := status["Seccomp_filters"], statusOf(t, m.machine.Leader)["Seccomp_filters"]; (filters != outside) != (status["NoNewPrivs"] == "1") {
		t.Errorf("%s filters of system calls, pid 1 of the machine has %s", filters, outside)
	}
	if memory, err := s.Memory(); err != nil || memory.Master == 0 || memory.Workers == 0 {
		t.Errorf("memory %+v, %v", memory, err)
	}
	if err := s.Alive(); err != nil {
		t.Error(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(conn); len(rest) > 0 || err != nil {
		t.Errorf("at the end %q, %v", rest, err)
	}
	await(t, "at an end", func() bool { return len(workers(m.machine.Leader)) == 0 })
	s.Settle(t.Context(), 0)
	after, err := s.Cost()
	if err != nil {
		t.Fatal(err)
	}
	if cost := after.Sub(before); cost.Master <= 0 {
		t.Errorf("a connection has cost %+v", cost)
	}
}

func echo(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(deadline)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != text {
		t.Fatalf("the echo is %q, %v", got, err)
	}
}

func unitOf(t *testing.T, build *server.Build, name string, port int) server.Unit {
	t.Helper()
	definitions, err := server.Select([]string{name})
	if err != nil {
		t.Fatal(err)
	}
	u, err := definitions[0].Unit(server.Site{Build: build, Port: port})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func statusOf(t *testing.T, pid int) map[string]string {
	t.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	status := make(map[string]string)
	for line := range strings.Lines(string(content)) {
		key, value, _ := strings.Cut(line, ":")
		status[key] = strings.TrimSpace(value)
	}
	return status
}

func is(want string) func(string) bool { return func(got string) bool { return got == want } }
func not(avoid string) func(string) bool {
	return func(got string) bool { return got != avoid && got != "" }
}

// A unit that systemd refuses is the server's problem and leaves nothing; a
// machine that cannot be booted is not tried again.
func TestServeFails(t *testing.T) {
	need(t)
	children, err := proc.Adopt()
	if err != nil {
		t.Fatal(err)
	}
	defer children.Close()
	m := New(children, t.Logf)
	defer m.Close()
	u := server.Unit{Socket: "[Socket]\nListenStream=nowhere\nAccept=yes\n", Service: "[Service]\nExecStart=-/bin/true\n", Program: "/bin/true"}
	if _, err := m.Serve(t.Context(), "broken", u, 1); err == nil || !strings.Contains(err.Error(), "start broken") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(m.machine.Path(units + "/broken.socket")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its file is there: %v", err)
	}

	path := os.Getenv("PATH")
	t.Setenv("PATH", t.TempDir())
	other := New(children, t.Logf)
	_, first := other.Serve(t.Context(), "a", u, 1)
	t.Setenv("PATH", path)
	_, second := other.Serve(t.Context(), "a", u, 1)
	if first == nil || !strings.Contains(first.Error(), "needs the program") || second == nil || first.Error() != second.Error() {
		t.Errorf("got %v, then %v", first, second)
	}
}
