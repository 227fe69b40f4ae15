package workers

import (
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/fdpark"
	"github.com/preforkd/preforkd/master/linger"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/service"
)

// The master keeps a copy of the connections of programs (Connection.KeepsCopy).
// So the kernel does not close the connection when the program ends, and the
// master can close it properly (package linger).
//
// The copy is the connection's File at first. If the connection lasts, the copy is
// parked as control channels are (parking.go). It is given up in two cases:
//
//   - The program has closed the connection and works on. The client is to see
//     the end at that time (earlyclose.go).
//   - There is no room for it among the parked descriptors. Then the connection is
//     closed when the program ends, as if lingering-close were false.

// A parkedCopy is a copy in the table of a parking thread. The zero parkedCopy is
// none.
type parkedCopy struct {
	thread *fdpark.Thread
	fd     int
}

// settleCopy closes the master's copy of a connection that the worker has now,
// unless it is to be kept. Nobody else uses the worker, or w.mu is held.
func (w *Worker) settleCopy() {
	if w.holdsCopy = w.conn.KeepsCopy(); !w.holdsCopy {
		w.conn.File.Close()
	}
}

// copyNear returns the copy if it is among the master's descriptors, or -1.
func (w *Worker) copyNear() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.holdsCopy || w.conn == nil || w.parkedCopy.thread != nil {
		return -1
	}
	return int(w.conn.File.Fd())
}

// copyParked notes that the copy was parked, and closes the one among the
// master's descriptors.
func (w *Worker) copyParked(to *fdpark.Thread, fd int) {
	w.parkedCopy = parkedCopy{to, fd}
	w.conn.File.Close()
}

// copyTakenBack notes that the copy, which was parked, is among the master's descriptors
// again.
func (w *Worker) copyTakenBack(fd int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conn.File, w.parkedCopy = os.NewFile(uintptr(fd), "connection"), parkedCopy{}
}

// EndConnection closes what the master has of the connection of a worker that was
// reaped. If something that the worker has started lives on, it may go on using the
// connection, and the master only gives up its copy.
func (s *Set) EndConnection(w *Worker, c *service.Connection) {
	w.mu.Lock()
	held := w.holdsCopy
	w.mu.Unlock()
	switch {
	case !held:
	case s.mayBeShared(w, c, time.Now()):
		s.giveUpCopy(w, c)
	case w.parkedCopy.thread == nil:
		w.forgetCopy()
		s.linger.CloseFile(c.File, linger.Served)
	default:
		p := w.parkedCopy
		w.forgetCopy()
		var closed bool
		p.thread.Do(func() { closed = linger.CloseIfOver(p.fd) })
		if closed {
			return
		}
		if fds, err := p.thread.TakeBack([]int{p.fd}); err == nil {
			s.linger.Close(fds[0], linger.Served)
			return
		}
		p.thread.Do(func() {
			_ = unix.Shutdown(p.fd, unix.SHUT_WR)
			unix.Close(p.fd)
		})
	}
}

// mayBeShared reports whether something may live on that the worker has started,
// and so has the connection. That is what the service keeps, or an orphan with an
// environment of its own. An orphan that is older than the connection does not have
// it, nor does one of another connection.
func (s *Set) mayBeShared(w *Worker, c *service.Connection, now time.Time) bool {
	l := &s.leftovers
	if cell := w.child.Cell; cell != nil && cell.Holds() {
		return false // what the worker has started has ended
	}
	if w.keepsLeftovers() {
		if l.children == nil || unix.Kill(-w.PID(), 0) != unix.ESRCH {
			return true
		}
		l.pids = l.children.Append(l.pids[:0])
	}
	// Otherwise pids is what there was when the worker turned out to be gone.
	for _, pid := range l.pids {
		if s.Has(pid) {
			continue
		}
		o, known := l.known[pid]
		if !known {
			if o, known = l.inspect(pid, now); known {
				l.known[pid] = o
			}
		}
		switch {
		case o.id == c.ID, o.session == w.PID():
			return true
		case known && (o.since.Before(c.Accepted) || o.id != "" && !o.hidden):
		case process.IsRunning(pid):
			return true
		}
	}
	return false
}

// giveUpCopy closes the master's copy of a connection that others hold, and ends
// it for nobody else.
func (s *Set) giveUpCopy(w *Worker, c *service.Connection) {
	p := w.parkedCopy
	w.forgetCopy()
	if p.thread != nil {
		p.thread.Do(func() { linger.GiveUp(p.fd) })
		return
	}
	linger.Disarm(int(c.File.Fd()))
	c.File.Close()
}

func (w *Worker) forgetCopy() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.holdsCopy, w.parkedCopy = false, parkedCopy{}
}
