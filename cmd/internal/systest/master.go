package systest

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A Master is a running "preforkd serve". At the end of the test that started
// it, it is stopped with StopSignal unless it has ended already, and checked:
//
//  1. before the signal, every accepted connection has been reaped, has ended,
//     was refused or has failed to spawn, each once; no child is left but
//     spares; the descriptors are those of the baseline and the spares'
//     control channels;
//  2. it exits with WantCode;
//  3. whoever else held its stderr, workers and their children, is gone;
//  4. the log has no malformed line, no panic and no data race.
//
// What a test closes or stops in its own Cleanup functions happens before, as
// long as they are registered after the start.
type Master struct {
	PID       int
	Listeners []Listener
	Terminal  *os.File // the near end of its terminal, if it has one
	Config    string   // the path of its configuration file, if it has one
	// Control is the path of its control socket, if it has one and was not
	// told another. It has one with a Config or with Options.Control.
	Control string

	// StopSignal ends the master at the end of the test, SIGTERM by default.
	// With SIGQUIT connections may be alive at that time.
	StopSignal syscall.Signal
	// WantCode is the exit code that the master must end with; -1 when a
	// signal must kill it.
	WantCode int
	// Killed says that the test kills the master, which then owes nothing.
	Killed bool
	// LossyLog says that the test makes the log lose lines on purpose, so
	// that connections cannot be accounted for.
	LossyLog bool
	// WorkersCrash says that Go programs among the workers may crash, and
	// write what they have to say about it where the master writes.
	WorkersCrash bool
	// Spares is how many spares there may be, as the arguments say.
	Spares int
	// Parks says that so many connections last that the master moves descriptors of
	// them into another table.
	Parks bool
	// Boxed says that services have boxes. The master then has idle cells, each with a
	// child, a pidfd and a channel.
	Boxed bool
	// OwnPIDs says that the master runs in a PID namespace, and that the pids
	// of its events mean nothing outside.
	OwnPIDs bool

	t          testing.TB
	cmd        *exec.Cmd
	stderr     *os.File
	log        *log
	exited     chan struct{}
	baseline   []string
	supervised bool // by somebody whom the master tells how it is
}

// Signal sends a signal to the master.
func (m *Master) Signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := m.cmd.Process.Signal(sig); err != nil {
		t.Fatalf("send %v to the master: %v", sig, err)
	}
}

// WriteConfig writes the master's configuration file anew.
func (m *Master) WriteConfig(t testing.TB, text string) {
	t.Helper()
	if err := os.WriteFile(m.Config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Reload has the master read a new configuration and returns the event that
// says what became of it. Listeners that it opened are added to Listeners.
func (m *Master) Reload(t testing.TB, text string) Event {
	t.Helper()
	m.WriteConfig(t, text)
	is := func(e Event) bool { return e.Msg == Reloaded || e.Msg == NotReloaded }
	before, listening := len(m.Events(is)), len(m.Events(Is(Listening)))
	m.Signal(t, syscall.SIGHUP)
	e := m.Wait(t, before+1, is)[before]
	for _, e := range m.Events(Is(Listening))[listening:] {
		m.Listeners = append(m.Listeners, parseListener(e))
	}
	return e
}

// Kill kills the master with SIGKILL and waits for its end.
func (m *Master) Kill(t testing.TB) {
	t.Helper()
	m.Killed = true
	m.Signal(t, syscall.SIGKILL)
	m.WaitExit(t)
}

// WaitExit waits until the master has ended and returns its exit code, -1 when
// a signal killed it.
func (m *Master) WaitExit(t testing.TB) int {
	t.Helper()
	select {
	case <-m.exited:
	case <-time.After(Deadline()):
		t.Fatalf("the master has not ended after %v", Deadline())
	}
	return m.cmd.ProcessState.ExitCode()
}

// Stop sends StopSignal and waits for the end.
func (m *Master) Stop(t testing.TB) {
	t.Helper()
	m.Signal(t, m.StopSignal)
	if code := m.WaitExit(t); code != m.WantCode {
		t.Errorf("the master exited with %d, want %d", code, m.WantCode)
	}
}

// Wait waits for n events that match and returns all that do, in order.
func (m *Master) Wait(t testing.TB, n int, match func(Event) bool) []Event {
	t.Helper()
	return m.log.wait(t, "events", n, match, m.exited)
}

// WaitFor waits for one event and returns the first that matches.
func (m *Master) WaitFor(t testing.TB, match func(Event) bool) Event {
	t.Helper()
	return m.Wait(t, 1, match)[0]
}

// Events returns the events so far that match.
func (m *Master) Events(match func(Event) bool) []Event {
	found, _, _ := m.log.find(match)
	return found
}

// WaitLogEnd waits until nobody holds the master's stderr any more.
func (m *Master) WaitLogEnd(t testing.TB) {
	t.Helper()
	Until(t, "the end of the log", func() bool { _, _, ended := m.log.find(Is("")); return ended }, func() string {
		return fmt.Sprintf("somebody holds the stderr of the master: %+v", m.holders())
	})
}

// Log returns the text of the log so far.
func (m *Master) Log() string { return m.log.String() }

// PauseLog stops reading the master's stderr after shrinking its pipe, and
// ResumeLog goes on. A read that was waiting when the pause began takes one
// more piece.
func (m *Master) PauseLog() {
	const fSetPipeSize = 1031 // F_SETPIPE_SZ
	if m.stderr != nil {
		if raw, err := m.stderr.SyscallConn(); err == nil {
			raw.Control(func(fd uintptr) {
				syscall.Syscall(syscall.SYS_FCNTL, fd, fSetPipeSize, 4096)
			})
		}
	}
	m.log.pause()
}

// CloseLog ends the reader of the master's log.
func (m *Master) CloseLog(t testing.TB) {
	t.Helper()
	if err := m.stderr.Close(); err != nil {
		t.Fatal(err)
	}
	m.LossyLog = true
}

// ResumeLog ends a pause.
func (m *Master) ResumeLog() { m.log.resume() }

// Baseline takes the descriptors that are open now as those that must be open
// in the end.
func (m *Master) Baseline(t testing.TB) {
	t.Helper()
	m.baseline = m.descriptors()
}

// descriptors returns what the master has open, but for the two descriptors
// that Go's poller opens when it is first needed, which may be at any time, but for
// the control channels of spares and cells, and but for what the first box brings (a
// pidfd of the master itself) and the first start of a program in one without mounts
// (an executable file in memory).
func (m *Master) descriptors() []string {
	var open []string
	for _, fd := range FDs(m.PID) {
		if fd.Target == "anon_inode:[eventpoll]" || fd.Target == "anon_inode:[eventfd]" || fd.PID == m.PID || strings.HasPrefix(fd.Target, "/memfd:preforkd-box") {
			continue
		}
		if m.Spares == 0 && !m.Boxed {
			open = append(open, fmt.Sprintf("%d -> %s", fd.Number, fd.Target))
		} else if !m.isChannel(fd) {
			// The numbers depend on how many spares there were before.
			open = append(open, fd.Target)
		}
	}
	slices.Sort(open)
	return open
}

// atBaseline reports whether the master has open what it had at the baseline.
// When that was taken a spare may have been about to start, for which there is
// a pipe for a moment, or a listener on its way to a supervisor, of which there
// is a duplicate; so with them there may be less now. Another program that has taken over
// has other numbers for what it has opened itself, and other namespaces ahead of boxes.
func (m *Master) atBaseline() bool {
	now := m.descriptors()
	if m.Parks && !m.Boxed {
		now = m.withoutParking(now)
	}
	if m.Spares == 0 && !m.Boxed && !m.supervised && !m.hasExecuted() {
		return slices.Equal(now, m.baseline)
	}
	left := slices.Clone(m.baseline)
	if m.hasExecuted() {
		ofKind := func(open []string) {
			for i, fd := range open {
				_, target, found := strings.Cut(fd, " -> ")
				if !found {
					target = fd
				}
				if kind, _, isNamespace := strings.Cut(target, ":["); isNamespace && kind != "socket" && kind != "pipe" {
					target = kind
				}
				open[i] = target
			}
		}
		ofKind(left)
		ofKind(now)
	}
	for _, fd := range now {
		i := slices.Index(left, fd)
		if i < 0 {
			return false
		}
		left = slices.Delete(left, i, i+1)
	}
	return true
}

// hasExecuted reports whether the master has executed another program, or another one the
// master again.
func (m *Master) hasExecuted() bool {
	return len(m.Events(func(e Event) bool {
		switch e.Msg {
		case "upgraded":
			return true
		case "not upgraded":
			return slices.Contains([]string{"load", "config", "restore", "install", "serve"}, e.Step)
		}
		return false
	})) > 0
}

// withoutParking takes out of a list of descriptors the socket of the thread that
// holds what was moved, which stays for good. Only that one is of the same type as a
// control channel: a copy of a connection is not.
func (m *Master) withoutParking(open []string) []string {
	for _, fd := range FDs(m.PID) {
		name := fmt.Sprintf("%d -> %s", fd.Number, fd.Target)
		if slices.Contains(m.baseline, name) || !strings.HasPrefix(fd.Target, "socket:") || !m.isChannel(fd) {
			continue
		}
		if i := slices.Index(open, name); i >= 0 {
			return slices.Delete(open, i, i+1)
		}
	}
	return open
}

// Channels counts the control channels that the master has open.
func (m *Master) Channels() int {
	n := 0
	for _, fd := range FDs(m.PID) {
		if m.isChannel(fd) {
			n++
		}
	}
	return n
}

// isChannel reports whether a descriptor of the master is a control channel,
// or a pidfd, which the master has for a moment with every child.
func (m *Master) isChannel(fd FD) bool {
	if fd.PID == m.PID {
		return false
	}
	if fd.Target == "anon_inode:[pidfd]" || strings.HasPrefix(fd.Target, "pidfd:") {
		return true
	}
	if !strings.HasPrefix(fd.Target, "socket:") {
		return false
	}
	s, err := DuplicateSocket(m.PID, fd.Number)
	if err != nil {
		return false
	}
	defer s.Close()
	// The stderr of workers is of the same type, and shows who has written.
	return s.Option(unix.SOL_SOCKET, unix.SO_TYPE) == unix.SOCK_SEQPACKET && s.Option(unix.SOL_SOCKET, unix.SO_PASSCRED) == 0
}
