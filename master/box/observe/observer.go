package observe

import (
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/epoll"
	"github.com/preforkd/preforkd/master/process"
)

// An Observer serves listeners. Its methods may be called by any goroutine.
type Observer struct {
	epoll *epoll.Set
	done  chan struct{}

	arrivals int    // a descriptor that tells of listeners
	arrived  func() // has them accepted

	// turn is held while something is done for processes, and while the Observer stands
	// still. It is taken before mu.
	turn sync.Mutex

	mu        sync.Mutex // guards what follows
	closed    bool
	paused    bool
	watched   bool // the epoll set has the descriptors
	subjects  map[uint32]*Subject
	next      uint32            // the number of the next Subject
	listeners map[int]*listener // by their descriptors
	processes map[int]*told     // by their pids, until Take
	condemned map[int]condemned // by pidfds
}

// maxProcesses bounds the processes that have ended and that nobody has asked for.
const maxProcesses = 4096

// New returns an Observer. While the descriptor arrivals, which stays the caller's, can
// be read, it calls arrived, which reads it and calls Accept. The caller must call Close.
func New(arrivals int, arrived func()) (*Observer, error) {
	o, err := NewPaused(arrivals, arrived)
	if err != nil {
		return nil, err
	}
	if err := o.Resume(); err != nil {
		o.Close()
		return nil, err
	}
	return o, nil
}

// NewPaused is New for an Observer that stands still, and touches no descriptor, until
// Resume.
func NewPaused(arrivals int, arrived func()) (*Observer, error) {
	set, err := epoll.New()
	if err != nil {
		return nil, err
	}
	o := &Observer{
		epoll: set, done: make(chan struct{}), arrivals: arrivals, arrived: arrived, paused: true,
		subjects: map[uint32]*Subject{}, listeners: map[int]*listener{}, processes: map[int]*told{}, condemned: map[int]condemned{},
	}
	o.turn.Lock()
	go o.run()
	return o, nil
}

// Close ends the Observer and all listeners. The calls that wait fail.
func (o *Observer) Close() {
	o.mu.Lock()
	o.closed = true
	paused := o.paused
	o.paused = false
	o.mu.Unlock()
	o.epoll.Close()
	if paused {
		o.turn.Unlock()
	}
	<-o.done
	o.mu.Lock()
	defer o.mu.Unlock()
	for fd := range o.listeners {
		unix.Close(fd)
	}
	for pidfd, c := range o.condemned {
		if c.timer != nil {
			c.timer.Stop()
		}
		_ = unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
		unix.Close(pidfd)
	}
	clear(o.condemned)
}

// Add has the Observer know a Subject. The number that it returns is never 0.
func (o *Observer) Add(s *Subject) uint32 {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.next++; o.next == 0 || o.subjects[o.next] != nil; o.next++ {
	}
	o.subjects[o.next] = s
	return o.next
}

// Remove forgets a Subject, of which no listener arrives any more. Those that have
// arrived go on.
func (o *Observer) Remove(number uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.subjects, number)
}

// Accept takes a listener of a process for a Subject. The descriptor is the Observer's,
// also if it cannot serve it: then it is closed, and the calls fail.
func (o *Observer) Accept(pid, fd int, number uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.subjects[number]
	if s == nil || o.closed || o.watch(fd) != nil {
		unix.Close(fd)
		return
	}
	t := &told{}
	o.listeners[fd], o.processes[pid] = &listener{fd, s, t}, t
	if s.Learner != nil {
		s.Learner.began()
	}
}

// Take returns what of the calls of a process, which was accepted, was denied, once.
func (o *Observer) Take(pid int) process.Denied {
	o.mu.Lock()
	defer o.mu.Unlock()
	t := o.processes[pid]
	if t == nil {
		return process.Denied{}
	}
	delete(o.processes, pid)
	return process.Denied{Calls: slices.Clone(t.denied), Killed: t.killed}
}

// watch adds a descriptor to those that the Observer waits for.
func (o *Observer) watch(fd int) error { return o.epoll.Add(fd, unix.EPOLLIN, int32(fd)) }

// run serves until Close.
func (o *Observer) run() {
	defer close(o.done)
	events := make([]unix.EpollEvent, 128)
	for {
		n, _, err := o.epoll.Wait(events)
		if err != nil {
			return // closed
		}
		o.turn.Lock()
		for _, e := range events[:n] {
			if int(e.Fd) == o.arrivals {
				o.arrived()
				continue
			}
			o.serve(int(e.Fd), e.Events)
		}
		o.turn.Unlock()
	}
}

// serve answers one call of a listener, or ends the listener if nobody has the filter any
// more (EPOLLHUP, since Linux 5.9).
func (o *Observer) serve(fd int, events uint32) {
	o.mu.Lock()
	l := o.listeners[fd]
	o.mu.Unlock()
	switch {
	case l == nil:
	case events&unix.EPOLLIN != 0:
		n, err := l.receive()
		if err != nil {
			return
		}
		name, a := n.Call.name(), l.subject.judge(&n.Call)
		l.subject.learn(&n.Call, name, a)
		if a.denied && !o.deny(l, &n, name, a.kill) {
			return
		}
		l.answer(&n, a)
	case events&unix.EPOLLHUP != 0: // EPOLLERR alone means nothing: a signal has come
		o.end(l)
	}
}

// deny notes a call that is denied, and kills for it. It reports whether the call is still
// to be answered. Take waits meanwhile, so that it knows of what has ended a process.
func (o *Observer) deny(l *listener, n *notification, name string, kill bool) (unanswered bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	l.told.add(name)
	if kill && o.kill(l, n) == nil {
		l.told.killed = true
		return false
	}
	return true
}

// end closes a listener.
func (o *Observer) end(l *listener) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.listeners, l.fd)
	unix.Close(l.fd)
	l.told.over = true
	if len(o.processes) <= maxProcesses {
		return
	}
	for pid, t := range o.processes {
		if t.over {
			delete(o.processes, pid)
			return
		}
	}
}
