package systemd

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// A Manager is the connection to the service manager. Messages wait in a queue,
// and one goroutine sends them. So no caller waits for a service manager that
// does not read. A nil Manager stands for no service manager, and all its
// methods do nothing.
type Manager struct {
	watchdog time.Duration
	report   func(error)
	socket   int // used by the goroutine only
	to       *unix.SockaddrUnix
	queue    chan message
	done     chan struct{}
	failing  atomic.Bool // the last message was not sent, and that was reported

	mu     sync.RWMutex // guards what follows; a read lock is held to queue a message
	closed bool
}

// A message is the content of one datagram. One without a state is not sent.
type message struct {
	state string
	fds   []int        // owned by the message
	sent  chan<- error // receives the outcome, if it is not nil
}

// queueSize is how many messages can wait. Messages about many listeners and
// about the start fit. A manager that has not read so many will not read any
// more.
const queueSize = 1024

// maxBeforeDrop is how many messages may wait before notifyDroppable drops a
// new one.
const maxBeforeDrop = 16

// Connect returns the manager that NOTIFY_SOCKET names, or nil if there is
// none. A program that takes over in the same process connects again, because the
// environment goes over, and so does the pid that WATCHDOG_PID names. It returns an error if WATCHDOG_USEC is wrong. When a message cannot be
// sent, the Manager calls report, from any goroutine. It reports only the first
// of several failures in a row. The caller must call Close.
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
		queue:    make(chan message, queueSize),
		done:     make(chan struct{}),
	}
	go m.run()
	return m, nil
}

// closeTimeout is how long Close waits for the last messages.
const closeTimeout = 2 * time.Second

// Close sends the queued messages, for up to closeTimeout, and ends the
// goroutine. Later messages are dropped.
func (m *Manager) Close() {
	if m == nil {
		return
	}
	m.mu.Lock()
	if !m.closed {
		m.closed = true
		close(m.queue)
	}
	m.mu.Unlock()
	select {
	case <-m.done:
	case <-time.After(closeTimeout):
	}
}

// Watchdog returns the longest time between two calls of Alive, or 0 if the
// manager has no watchdog.
func (m *Manager) Watchdog() time.Duration {
	if m == nil {
		return 0
	}
	return m.watchdog
}

// Ready tells that all listeners are open and a worker can be started, or that
// a reload is over.
func (m *Manager) Ready() { m.notify(daemon.SdNotifyReady) }

// Reloading tells that the master reads its configuration again. The caller
// must call Ready after it.
func (m *Manager) Reloading() {
	// With Type=notify-reload, the time tells the manager that this reload is
	// the one after its SIGHUP.
	m.notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
}

// Upgrading tells that another program takes over in the process of the master, which is
// a reload for the manager. The caller must call Ready after it, in whichever program
// goes on. The watchdog begins to wait anew.
func (m *Manager) Upgrading() {
	m.notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec() + "STATUS=" + statusUpgrading + "\n" + daemon.SdNotifyWatchdog)
}

const statusUpgrading = "upgrading"

// Stopping tells that the master has started to stop.
func (m *Manager) Stopping() { m.notify(daemon.SdNotifyStopping) }

// Alive tells that the master makes progress.
func (m *Manager) Alive() { m.notifyDroppable(daemon.SdNotifyWatchdog) }

// maxStatus is the maximum length of a status in bytes. The manager systemd
// ignores a message that is longer than PIPE_BUF, 4096, and a status that is
// not UTF-8.
const maxStatus = 1024

// Status tells the state of the master in one line for people. It returns false
// if it has dropped the message because too many messages wait.
func (m *Manager) Status(text string) bool {
	text = strings.ReplaceAll(text, "\n", " ")
	return m.notifyDroppable("STATUS=" + strings.ToValidUTF8(text[:min(len(text), maxStatus)], ""))
}

// Extend asks the manager for at least this much more time, from now on, for
// the start, reload or stop that is running.
func (m *Manager) Extend(d time.Duration) {
	m.notifyDroppable(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", d.Microseconds()))
}

// Store stores a descriptor with the manager under a name. The manager passes
// it to the next process of the service. The caller keeps fd. A manager without
// a store ignores it.
func (m *Manager) Store(name string, fd int) error {
	if m == nil {
		return nil
	}
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return fmt.Errorf("duplicate a listener for the manager: %w", err)
	}
	// FDPOLL=0: the manager must not remove a listener when poll reports an
	// error for it.
	m.enqueue(message{state: "FDSTORE=1\nFDPOLL=0\nFDNAME=" + name, fds: []int{dup}})
	return nil
}

// Remove makes the manager close the descriptors that it has stored under a
// name.
func (m *Manager) Remove(name string) { m.notify("FDSTOREREMOVE=1\nFDNAME=" + name) }

// barrierTimeout is how long Barrier waits for the manager.
const barrierTimeout = 5 * time.Second

// Barrier waits until the manager has handled all messages before it
// (sd_notify_barrier(3)).
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
	m.enqueue(message{state: "BARRIER=1", fds: []int{pipe[1]}, sent: sent})
	deadline := time.Now().Add(barrierTimeout)
	select {
	case err := <-sent:
		if err != nil {
			return err
		}
	case <-time.After(barrierTimeout):
		return fmt.Errorf("the service manager has not read its messages within %v", barrierTimeout)
	}
	// The manager closes its end of the pipe when it reaches the barrier.
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

// Flush waits until all messages before it are sent: they are in the manager's socket,
// with their descriptors, and no end of the program takes them back. It is an error if
// that takes longer than timeout.
func (m *Manager) Flush(timeout time.Duration) error {
	if m == nil {
		return nil
	}
	sent := make(chan error, 1)
	m.enqueue(message{sent: sent})
	select {
	case err := <-sent:
		return err
	case <-time.After(timeout):
		return fmt.Errorf("the service manager has not read its messages within %v", timeout)
	}
}

// notify queues a message.
func (m *Manager) notify(state string) {
	if m != nil {
		m.enqueue(message{state: state})
	}
}

// notifyDroppable queues a message that will soon be repeated anyway. It drops
// the message and returns false if many messages wait. So there is room for
// messages that are sent once.
func (m *Manager) notifyDroppable(state string) bool {
	if m == nil || len(m.queue) >= maxBeforeDrop {
		return false
	}
	m.enqueue(message{state: state})
	return true
}

// enqueue puts a message into the queue. It drops the message if the queue is
// full.
func (m *Manager) enqueue(msg message) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		msg.end(errClosed)
		return
	}
	select {
	case m.queue <- msg:
	default:
		m.finish(msg, errors.New("it does not read"))
	}
}

var errClosed = errors.New("the service manager is not told any more")

// finish ends a message. If it was not sent, finish reports why, unless the
// message before it was not sent either.
func (m *Manager) finish(msg message, err error) {
	if err == nil {
		m.failing.Store(false)
	} else {
		err = fmt.Errorf("tell the service manager: %w", err)
		if !m.failing.Swap(true) {
			m.report(err)
		}
	}
	msg.end(err)
}

// end closes the descriptors of the message and wakes a caller that waits for
// it.
func (msg message) end(err error) {
	for _, fd := range msg.fds {
		unix.Close(fd)
	}
	if msg.sent != nil {
		msg.sent <- err
	}
}

// run is the goroutine that sends the messages.
func (m *Manager) run() {
	defer close(m.done)
	defer unix.Close(m.socket)
	for msg := range m.queue {
		if msg.state == "" {
			msg.end(nil)
			continue
		}
		m.finish(msg, m.send(msg.state, msg.fds))
	}
}

// send sends one message. go-systemd has a function for that, which opens a
// socket for each message and cannot send descriptors.
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
