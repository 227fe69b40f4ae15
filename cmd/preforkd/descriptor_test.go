package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// descriptorsOf waits until a process runs the program with this path (before,
// it is a copy of the master that is about to) and returns its descriptors.
func descriptorsOf(t *testing.T, pid int, path string) []systest.FD {
	t.Helper()
	systest.Until(t, "running "+path, func() bool { return asleep(pid, path) }, func() string { return systest.Executable(pid) })
	return systest.FDs(pid)
}

// asleep reports whether a process is the sleep at path and has come to
// sleeping. Before that it has an environment to be filled in and libraries to
// load, with a descriptor open for each in its turn (proc_pid_wchan(5)).
func asleep(pid int, path string) bool {
	where, err := os.ReadFile(fmt.Sprintf("/proc/%d/wchan", pid))
	return err == nil && strings.Contains(string(where), "nanosleep") && systest.Executable(pid) == path
}

// realPath resolves the links of a system program's path, as /proc does.
func realPath(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// sharedStderr returns what is behind fd 2 of a worker. It is a socket that the
// master has, too, to give it to other workers, where the master's own stderr has
// a reader that may stop or end.
func sharedStderr(t *testing.T, m *systest.Master, pid int) string {
	t.Helper()
	var target string
	for _, fd := range systest.FDs(pid) {
		if fd.Number == 2 {
			target = fd.Target
		}
	}
	if !strings.HasPrefix(target, "socket:") || !slices.ContainsFunc(systest.FDs(m.PID), func(fd systest.FD) bool { return fd.Target == target }) {
		t.Errorf("fd 2 of %d is %q, which the master does not share", pid, target)
	}
	return target
}

// checkDescriptors holds the descriptors of a program to a handoff's contract.
// port is the port of the client whose connection it has.
func checkDescriptors(pid int, fds []systest.FD, handoff, stderr string, port int) error {
	targets := map[int]string{2: stderr}
	connections := []int{0, 1}
	if handoff != "stdio" {
		connections = []int{3}
		targets[0], targets[1] = "/dev/null", stderr
	}
	var numbers []int
	for _, fd := range fds {
		numbers = append(numbers, fd.Number)
		if want, ok := targets[fd.Number]; ok && fd.Target != want {
			return fmt.Errorf("%v, want %s", fd, want)
		}
		if fd.CloseOnExec() {
			return fmt.Errorf("%v has FD_CLOEXEC", fd)
		}
	}
	want := map[string][]int{"stdio": {0, 1, 2}, "systemd": {0, 1, 2, 3}, "worker": {0, 1, 2, 3, 4}}[handoff]
	if !slices.Equal(numbers, want) {
		return fmt.Errorf("descriptors %v, want %v: %v", numbers, want, fds)
	}
	for _, n := range connections {
		if fds[n].NonBlocking() {
			return fmt.Errorf("%v: the connection does not block", fds[n])
		}
		if fds[n].Target != fds[connections[0]].Target {
			return fmt.Errorf("%v and %v are not the same connection", fds[n], fds[connections[0]])
		}
		s, err := systest.DuplicateSocket(pid, n)
		if err != nil {
			return err
		}
		defer s.Close()
		if got := s.Peer(); got != port {
			return fmt.Errorf("%v is the connection of port %d, want %d", fds[n], got, port)
		}
	}
	if handoff == "worker" {
		s, err := systest.DuplicateSocket(pid, 4)
		if err != nil {
			return err
		}
		defer s.Close()
		if d, ty := s.Option(unix.SOL_SOCKET, unix.SO_DOMAIN), s.Option(unix.SOL_SOCKET, unix.SO_TYPE); d != unix.AF_UNIX || ty != unix.SOCK_SEQPACKET {
			return fmt.Errorf("the control channel has domain %d and type %d", d, ty)
		}
	}
	return nil
}

// A program sees the descriptors of its handoff and nothing else, also while
// other connections live, come and go.
func TestDescriptors(t *testing.T) {
	t.Parallel()
	sleep := realPath(t, "/bin/sleep")
	for _, how := range []string{"worker", "stdio", "systemd", "stdio spares", "systemd spares"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			handoff, spares, _ := strings.Cut(how, " ")
			if spares != "" {
				spares = "4"
			} else {
				spares = "0"
			}
			m := systest.Options{
				// Descriptors that the master has inherited stay with it.
				Wrap: sh(`exec 3</dev/zero 7<&3; exec "$@"`, "sh"),
				Args: []string{"--spares", spares, "--handoff", handoff, "--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--", sleep, "1000"},
			}.Start(t)
			m.StopSignal = syscall.SIGQUIT // they sleep on whatever their clients do
			if stderr := systest.FDs(m.PID)[2].Target; !strings.HasPrefix(stderr, "pipe:") {
				t.Fatalf("the master's stderr is %s", stderr)
			}
			var check sync.WaitGroup
			for range 4 {
				check.Go(func() {
					for range 13 {
						c, err := m.TryDial()
						if err != nil {
							t.Error(err)
							return
						}
						t.Cleanup(func() { c.Close() })
					}
				})
			}
			// While they are being made, look at all there are.
			seen := map[int]bool{}
			systest.Until(t, "52 programs", func() bool {
				for _, p := range systest.Children(m.PID) {
					if seen[p.PID] || !asleep(p.PID, sleep) {
						continue
					}
					port, err := strconv.Atoi(systest.Getenv(p.PID, "TCPREMOTEPORT"))
					if err != nil {
						continue // in the middle of exec: the program is there, its environment is not
					}
					if err := checkDescriptors(p.PID, systest.FDs(p.PID), handoff, sharedStderr(t, m, p.PID), port); err != nil {
						t.Errorf("pid %d: %v", p.PID, err)
					}
					seen[p.PID] = true
				}
				return len(seen) == 52
			}, func() string { return fmt.Sprintf("%d programs", len(seen)) })
			check.Wait()

			last := m.Dial(t)
			pid := last.Worker(t)
			if err := checkDescriptors(pid, descriptorsOf(t, pid, sleep), handoff, sharedStderr(t, m, pid), portOf(last)); err != nil {
				t.Error(err)
			}
		})
	}
}

// A master without stdin and stdout must not give their numbers to a socket.
func TestDescriptorsWithoutStdio(t *testing.T) {
	t.Parallel()
	sleep := realPath(t, "/bin/sleep")
	for _, handoff := range []string{"worker", "stdio"} {
		m := systest.Options{
			Wrap: sh(`exec "$@" <&- >&-`, "sh"),
			Args: []string{"--handoff", handoff, "--", sleep, "1000"},
		}.Start(t)
		m.StopSignal = syscall.SIGQUIT
		c := m.Dial(t)
		pid := c.Worker(t)
		if err := checkDescriptors(pid, descriptorsOf(t, pid, sleep), handoff, sharedStderr(t, m, pid), portOf(c)); err != nil {
			t.Errorf("%s: %v", handoff, err)
		}
	}
}

// What the master shares with the shell that started it, it leaves as it was: a
// terminal that does not block breaks the shell.
func TestMasterLeavesStdioBlocking(t *testing.T) {
	t.Parallel()
	m := systest.Options{Terminal: true, Args: []string{"echo"}}.Start(t)
	m.Dial(t).Echo(t, "hello")
	for _, fd := range systest.FDs(m.PID)[:3] {
		if fd.NonBlocking() {
			t.Errorf("%v", fd)
		}
	}
}

// The worker of a built-in handler has no descriptor but those of the contract
// and those that Go's runtime makes for itself.
func TestDescriptorsOfBuiltinWorker(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, "echo")
	clients := m.DialAll(t, 20)
	for _, c := range clients {
		c.Echo(t, "hello")
	}
	for _, c := range clients {
		pid := c.Worker(t)
		sockets, stderr := 0, sharedStderr(t, m, pid)
		for _, fd := range systest.FDs(pid) {
			switch {
			case fd.Target == stderr && (fd.Number == 1 || fd.Number == 2):
			case strings.HasPrefix(fd.Target, "socket:"):
				sockets++
				if fd.Number != 3 && fd.Number != 4 {
					t.Errorf("pid %d has a socket too many: %v", pid, fd)
				}
			case fd.Number == 0 && fd.Target != "/dev/null":
				t.Errorf("pid %d: stdin is %v", pid, fd)
			}
		}
		if sockets != 2 {
			t.Errorf("pid %d has %d sockets", pid, sockets)
		}
	}
}

// The peer sees the end as soon as the program has gone: the master, alive and
// well, has no copy of the connection.
func TestMasterKeepsNoCopy(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"worker": {"--quit-word", "exit", "echo"},
		"stdio":  append([]string{"--lingering-close=false"}, program(sh("read word; echo $word")...)...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := systest.Start(t, args...)
			for range 10 {
				c := m.Dial(t)
				c.Worker(t)
				noConnections(t, m)
				c.Send(t, "exit\n")
				c.ExpectEnd(t) // the client has closed nothing
			}
		})
	}
}

// Programs that close 0 and 1 have closed the connection, alive as they are.
func TestClosingStdioCloses(t *testing.T) {
	t.Parallel()
	gate := systest.NewGate(t)
	m := systest.Start(t, program(sh(`exec 0<&- 1>&-; read go < `+gate.Path)...)...)
	c := m.Dial(t)
	c.ExpectEnd(t)
	if !systest.Alive(c.Worker(t)) {
		t.Error("the program has ended")
	}
	gate.Open(t)
	c.End(t)
}

// noConnections waits until no socket of the master is one end of a connection
// over TCP. (It has the connection between accept and spawn.)
func noConnections(t *testing.T, m *systest.Master) {
	t.Helper()
	systest.Until(t, "a master without connections", func() bool {
		none := true
		for _, s := range systest.SocketsOf(m.PID) {
			if s.Peer() != 0 {
				none = false
			}
			s.Close()
		}
		return none
	}, nil)
}

// A worker's stdin is empty whatever the master's is.
func TestStdinIsNull(t *testing.T) {
	t.Parallel()
	file := systest.Dir(t) + "/stdin"
	if err := os.WriteFile(file, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := systest.Options{
		Wrap: sh(`exec "$@" < `+file, "sh"),
		Args: []string{"--handoff", "worker", "--", "/bin/sh", "-c", "cat >&3; echo end >&3"},
	}.Start(t)
	c := m.Dial(t)
	if got := c.ExpectEnd(t); got != "end\n" {
		t.Errorf("the worker read %q", got)
	}
}

func portOf(c *systest.Client) int { return c.LocalAddr().(*net.TCPAddr).Port }
