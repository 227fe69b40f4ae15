package workers

import (
	"errors"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/service"
)

// A program may close its connection and work on. Its client is to see the end at
// that time, and the master's copy would hide it. The kernel tells nobody when the
// other descriptors of a socket are closed, so the master looks now and then where
// the descriptors of the programs lead. If those that they were given lead
// elsewhere, the master gives its copy up.
//
// It looks whenever limits are checked, once in a second, and so much later the
// client may see the end.

// earlyCloseShare bounds the time that it takes, as a part of all time, when there
// are many connections.
const earlyCloseShare = 50

// earlyCloses looks where the descriptors of programs lead. The loop owns it; it
// looks on a goroutine, one at a time.
type earlyCloses struct {
	looking bool
	next    time.Time // when to look again
	found   chan EarlyCloses
}

// EarlyCloses is the programs that have closed their connections.
type EarlyCloses struct {
	workers     []*Worker
	connections []*service.Connection // of the workers, at that time
	took        time.Duration
}

// LookForEarlyCloses looks for programs that have closed their connections, if it
// is time to and there are programs whose connections the master has copies of.
// EarlyCloses has what was found later.
func (s *Set) LookForEarlyCloses(now time.Time) {
	e := &s.early
	if e.looking || now.Before(e.next) {
		return
	}
	var (
		all  EarlyCloses
		pids []int
		inos []uint64
	)
	for _, w := range s.table.workers {
		w.mu.Lock()
		held, c := w.holdsCopy && w.state == Serving, w.conn
		w.mu.Unlock()
		if !held || c == nil {
			continue
		}
		if w.socket == 0 {
			w.socket = inode(w, c)
		}
		all.workers, all.connections = append(all.workers, w), append(all.connections, c)
		pids, inos = append(pids, w.PID()), append(inos, w.socket)
	}
	if len(pids) == 0 {
		return
	}
	e.looking = true
	go func() {
		begun := time.Now()
		var closed EarlyCloses
		for i, pid := range pids {
			if inos[i] != 0 && hasClosed(pid, inos[i]) {
				closed.workers = append(closed.workers, all.workers[i])
				closed.connections = append(closed.connections, all.connections[i])
			}
		}
		closed.took = time.Since(begun)
		e.found <- closed // there is room: it looks once at a time
	}()
}

// EarlyCloses has what LookForEarlyCloses has found. Each is to be passed to
// NoteEarlyCloses.
func (s *Set) EarlyCloses() <-chan EarlyCloses { return s.early.found }

// NoteEarlyCloses gives up the copies of connections that programs have closed.
func (s *Set) NoteEarlyCloses(found EarlyCloses, now time.Time) {
	e := &s.early
	e.looking = false
	e.next = now.Add(earlyCloseShare * found.took)
	for i, w := range found.workers {
		w.mu.Lock()
		current := w.holdsCopy && w.conn == found.connections[i]
		w.mu.Unlock()
		if current && !w.reaped {
			s.giveUpCopy(w, found.connections[i])
		}
	}
}

// inode returns the number of the connection's socket, or 0.
func inode(w *Worker, c *service.Connection) uint64 {
	var stat unix.Stat_t
	var err error
	if p := w.parkedCopy; p.thread != nil {
		p.thread.Do(func() { err = unix.Fstat(p.fd, &stat) })
	} else {
		err = unix.Fstat(int(c.File.Fd()), &stat)
	}
	if err != nil {
		return 0
	}
	return stat.Ino
}

// hasClosed reports whether none of the descriptors that a program was given leads
// to its connection any more. The answer is no where the kernel does not tell, and
// for a process that is ending: it closes its descriptors before it can be reaped.
//
// A spare moves the connection from ipc.FDConnection to 0 and 1 when it executes
// its program, so that one is looked at first.
func hasClosed(pid int, socket uint64) bool {
	directory := "/proc/" + strconv.Itoa(pid) + "/fd/"
	for _, fd := range []string{fdConnection, "0", "1"} {
		var stat unix.Stat_t
		switch err := unix.Stat(directory+fd, &stat); {
		case err == nil && stat.Ino == socket && stat.Mode&unix.S_IFMT == unix.S_IFSOCK:
			return false
		case err != nil && !errors.Is(err, unix.ENOENT):
			return false
		}
	}
	return process.IsRunning(pid)
}

var fdConnection = strconv.Itoa(ipc.FDConnection)
