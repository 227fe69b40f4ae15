package systemd

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// A Manager is told how far the master has come. What it is told waits in a
// queue and one goroutine sends it, so that nobody waits for a manager that
// does not read. All methods of a nil Manager do nothing: there is none.
type Manager struct {
	watchdog time.Duration
	report   func(error)
	socket   int // the goroutine's
	to       *unix.SockaddrUnix
	queue    chan message
	done     chan struct{}
	close    sync.Once
}

// A message is what is sent in one datagram.
type message struct {
	state string
	fds   []int        // owned by the message
	sent  chan<- error // told of the outcome, if it is not nil
}

// queued is how many messages wait at most. Whoever does not read so many does
// not read any more.
const queued = 64

// Connect returns the manager that NOTIFY_SOCKET names, nil when there is none.
// The error may be about WATCHDOG_USEC. What cannot be sent is reported, the
// first of several in a row, from a goroutine that Close ends.
func Connect(report func(error)) (*Manager, error) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil, nil
	}
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return nil, fmt.Errorf("watchdog: %w", err)
	}
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("notify the service manager: %w", os.NewSyscallError("socket", err))
	}
	m := &Manager{
		watchdog: watchdog,
		report:   report,
		socket:   socket,
		to:       &unix.SockaddrUnix{Name: path},
		queue:    make(chan message, queued),
		done:     make(chan struct{}),
	}
	go m.run()
	return m, nil
}

// closeTimeout is how long the last messages may take.
const closeTimeout = 2 * time.Second

// Close sends what is queued, for a bounded time, and ends the goroutine.
func (m *Manager) Close() {
	if m == nil {
		return
	}
	m.close.Do(func() { close(m.queue) })
	select {
	case <-m.done:
	case <-time.After(closeTimeout):
	}
}

// Watchdog returns within which time each Alive must follow the last one, 0 for
// none.
func (m *Manager) Watchdog() time.Duration {
	if m == nil {
		return 0
	}
	return m.watchdog
}

// Ready says that everything listens and a worker can be started, or that a
// reload is over.
func (m *Manager) Ready() { m.say(daemon.SdNotifyReady) }

// Reloading says that the configuration is being read again. Ready follows.
func (m *Manager) Reloading() {
	// The moment tells a manager of Type=notify-reload that this is what
	// followed its SIGHUP.
	m.say(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
}

// Stopping says that the master has begun to stop.
func (m *Manager) Stopping() { m.say(daemon.SdNotifyStopping) }

// Alive says that the master makes progress.
func (m *Manager) Alive() { m.say(daemon.SdNotifyWatchdog) }

// Status says in a line for people how the master is.
func (m *Manager) Status(text string) { m.say("STATUS=" + strings.ReplaceAll(text, "\n", " ")) }

// Extend asks for at least so much more time, from now on, for what is under
// way: a start, a reload or a stop.
func (m *Manager) Extend(d time.Duration) {
	m.say(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", d.Microseconds()))
}

// Store leaves a descriptor with the manager under a name, which passes it to
// the next process of the service. The caller keeps fd. A manager that stores
// none ignores it.
func (m *Manager) Store(name string, fd int) error {
	if m == nil {
		return nil
	}
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return fmt.Errorf("duplicate a listener for the manager: %w", err)
	}
	// FDPOLL=0: a listener is never to be dropped because poll reports an
	// error on it.
	m.put(message{state: "FDSTORE=1\nFDPOLL=0\nFDNAME=" + name, fds: []int{dup}})
	return nil
}

// Remove has the manager close the descriptors that it stores under a name.
func (m *Manager) Remove(name string) { m.say("FDSTOREREMOVE=1\nFDNAME=" + name) }

// barrierTimeout is how long a manager may take to come to a barrier.
const barrierTimeout = 5 * time.Second

// Barrier waits until the manager has acted on everything before it (sd_notify_barrier(3)).
func (m *Manager) Barrier() error {
	if m == nil {
		return nil
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	defer unix.Close(pipe[0])
	sent := make(chan error, 1)
	m.put(message{state: "BARRIER=1", fds: []int{pipe[1]}, sent: sent})
	deadline := time.Now().Add(barrierTimeout)
	select {
	case err := <-sent:
		if err != nil {
			return err
		}
	case <-time.After(barrierTimeout):
		return fmt.Errorf("the service manager has not read its messages within %v", barrierTimeout)
	}
	// The manager closes the other end when it has come so far.
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pipe[0])}}, int(max(0, time.Until(deadline).Milliseconds())))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case n == 0:
			return fmt.Errorf("the service manager has not acted on its messages within %v", barrierTimeout)
		}
		return nil
	}
}

func (m *Manager) say(state string) {
	if m != nil {
		m.put(message{state: state})
	}
}

// put queues a message, or drops it when the manager does not read.
func (m *Manager) put(msg message) {
	select {
	case m.queue <- msg:
	default:
		msg.finish(errors.New("the service manager does not read"))
	}
}

func (msg message) finish(err error) {
	for _, fd := range msg.fds {
		unix.Close(fd)
	}
	if msg.sent != nil {
		msg.sent <- err
	}
}

func (m *Manager) run() {
	defer close(m.done)
	defer unix.Close(m.socket)
	failing := false
	for msg := range m.queue {
		err := m.send(msg.state, msg.fds)
		msg.finish(err)
		if err != nil && !failing {
			m.report(fmt.Errorf("tell the service manager: %w", err))
		}
		failing = err != nil
	}
}

// send sends one message. It is not go-systemd's, which opens a socket for each
// and has no way to send descriptors.
func (m *Manager) send(state string, fds []int) error {
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	for {
		err := unix.Sendmsg(m.socket, []byte(state), rights, m.to, unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			return os.NewSyscallError("sendmsg", err)
		}
	}
}
