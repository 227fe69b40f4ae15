package stderr

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxPiece is how many bytes of one write are read at once. A socket takes
	// no more than its send buffer, 208 KiB by default. What is longer is cut.
	maxPiece = 256 << 10
	// maxTake bounds how many bytes Take reads, and how many pieces. That is
	// about what the workers' end, which they share, may have in the queue
	// (net.core.wmem_default), so what was written before is among them.
	maxTake       = 256 << 10
	maxTakePieces = 1024
	// maxRead bounds how many bytes run reads before it lets others have a turn.
	// A worker that floods the socket with empty lines gives it a lot to do, and
	// the master's loop must not wait for that in Take and Forget.
	maxRead = 16 << 10
	// readPause is the time between reads where nobody tells that there is
	// something to read.
	readPause = 20 * time.Millisecond
	// reopenPause is the time to the next attempt to get a new socket.
	reopenPause = time.Second
)

// A Relay reads what workers write to the fd 2 that they share. Any goroutine may
// call its methods.
type Relay struct {
	forward  func(line []byte)
	leaderOf func(pid int) int
	reopened func(error)
	file     *os.File      // the workers' end; its number stays the same
	stop     chan struct{} // closed by Close
	done     chan struct{} // closed when run has ended
	writers  atomic.Int64  // len(byLeader), to be read without the lock

	// reading is held while run reads or reopens, and by Outputs.Pause. It is taken before
	// mu.
	reading sync.Mutex

	mu       sync.Mutex      // guards what follows
	end      *os.File        // the master's end
	closed   bool            // by Close
	byLeader map[int]*writer // by the pid that leaderOf says
	unended  []int           // leaders who have written since endLines, and no newline at last
	buf      []byte
	control  []byte
}

// Open makes a Relay and starts its goroutine. The caller ends it with Close.
//
// forward gets each line, with its newline; it must not keep it, and must not
// wait. It may be nil. leaderOf returns the worker that a process belongs to.
// reopened is told when a worker has shut the socket down for all, and whether
// there is a new one.
func Open(forward func(line []byte), leaderOf func(pid int) int, reopened func(error)) (*Relay, error) {
	end, worker, err := pair()
	if err != nil {
		return nil, err
	}
	r := newRelay(end, os.NewFile(uintptr(worker), "stderr of workers"), forward, leaderOf, reopened)
	go r.run()
	return r, nil
}

// newRelay makes a Relay of the two ends of its socket. The caller starts run.
func newRelay(end, file *os.File, forward func(line []byte), leaderOf func(pid int) int, reopened func(error)) *Relay {
	return &Relay{
		forward: forward, leaderOf: leaderOf, reopened: reopened, end: end, file: file,
		stop: make(chan struct{}), done: make(chan struct{}), byLeader: map[int]*writer{},
		// The credentials, and no room for descriptors, which the kernel then
		// closes.
		buf: make([]byte, maxPiece), control: make([]byte, unix.CmsgSpace(unix.SizeofUcred)),
	}
}

// pair returns the master's end and the workers' end of a new socket.
func pair() (end *os.File, worker int, err error) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, -1, fmt.Errorf("create the stderr of workers: %w", err)
	}
	// The two ends have flags of their own: the workers' stays in blocking mode.
	err = unix.SetNonblock(ends[0], true)
	for _, fd := range ends {
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
		}
	}
	if err != nil {
		unix.Close(ends[0])
		unix.Close(ends[1])
		return nil, -1, fmt.Errorf("create the stderr of workers: %w", err)
	}
	return os.NewFile(uintptr(ends[0]), "stderr of workers"), ends[1], nil
}

// File returns the end that workers get as fd 2. The Relay keeps it.
func (r *Relay) File() *os.File { return r.file }

// run reads until Close.
func (r *Relay) run() {
	defer close(r.done)
	for {
		r.mu.Lock()
		end, closed := r.end, r.closed
		r.mu.Unlock()
		if closed {
			return
		}
		raw, err := end.SyscallConn()
		if err != nil {
			return
		}
		state := waiting
		err = raw.Read(func(uintptr) bool {
			state = r.take()
			return state != waiting
		})
		if err != nil {
			// Closed, or Go's poller has not taken the socket on, for a limit of
			// the user or of memory (epoll(7)): then it is read now and then.
			select {
			case <-time.After(readPause):
				state = r.take()
			case <-r.stop:
				return
			}
		}
		for state == shutDown && !r.reopen() {
			select {
			case <-time.After(reopenPause):
			case <-r.stop:
				return
			}
		}
	}
}

// take reads what is there, for run.
func (r *Relay) take() readState {
	r.reading.Lock()
	defer r.reading.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.read(maxRead)
}

// A readState is why read has returned.
type readState int

const (
	waiting  readState = iota // there is nothing to read now
	more                      // there may be more to read
	shutDown                  // there will never be any more
)

// read reads about n bytes at most, and does not wait. r.mu is held.
func (r *Relay) read(n int) readState {
	if r.closed {
		return more // run sees it
	}
	raw, err := r.end.SyscallConn()
	if err != nil {
		return more
	}
	state := more
	pid, leader := 0, 0
	if err := raw.Control(func(fd uintptr) {
		for pieces := maxTakePieces; n > 0 && pieces > 0; pieces-- {
			size, sent, from := receive(int(fd), r.buf, r.control)
			switch {
			case from == 0:
				state = sent
				r.endLines()
				return
			case from != pid:
				pid, leader = from, r.leaderOf(from)
			}
			r.add(leader, r.buf[:size], time.Now())
			n -= size
		}
	}); err != nil {
		return more
	}
	return state
}

// receive reads a piece, and returns its length and the pid of its sender. The
// pid is 0 when there is no piece, and the state says why.
func receive(fd int, buf, control []byte) (n int, state readState, pid int) {
	for {
		n, controlN, _, _, err := unix.Recvmsg(fd, buf, control, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return 0, waiting, 0
		case err != nil:
			return 0, shutDown, 0
		}
		pid := senderOf(control[:controlN])
		if pid == 0 && n == 0 {
			return 0, shutDown, 0 // a piece of no bytes has a sender
		}
		if pid == 0 {
			pid = -1 // of another pid namespace
		}
		return n, more, pid
	}
}

// senderOf returns the pid in the credentials of a piece, 0 if there is none.
func senderOf(control []byte) int {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return 0
	}
	for i := range messages {
		if cred, err := unix.ParseUnixCredentials(&messages[i]); err == nil {
			return int(cred.Pid)
		}
	}
	return 0
}

// Take returns the last lines that a worker which has ended wrote since a given
// time, and forgets them.
func (r *Relay) Take(pid int, since time.Time) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read(maxTake) // the exit can overtake the lines
	w := r.byLeader[pid]
	if w == nil {
		return ""
	}
	r.forget(pid)
	return w.tail.Since(since)
}

// Forget is Take for a worker whose lines nobody needs. It costs next to nothing
// while nobody has written any.
func (r *Relay) Forget(pid int) {
	if r.writers.Load() == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(pid)
}

// Flush passes on all that was written so far.
func (r *Relay) Flush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read(maxTake)
	for leader := range r.byLeader {
		r.forget(leader)
	}
}

// reopen makes a new socket after a worker has shut down the one that all share.
// Those that have the old one keep it. It reports whether there is a new one.
func (r *Relay) reopen() bool {
	r.reading.Lock()
	defer r.reading.Unlock()
	end, worker, err := pair()
	if err == nil {
		err = r.replace(worker)
		unix.Close(worker)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.reopened(err)
	}
	if err != nil || r.closed {
		if end != nil {
			end.Close()
		}
		return false
	}
	r.end.Close()
	r.end = end
	return true
}

// replace puts a new workers' end behind the number of the old one, at once:
// workers are being started meanwhile.
func (r *Relay) replace(worker int) error {
	raw, err := r.file.SyscallConn()
	if err != nil {
		return err
	}
	var dupErr error
	if err := raw.Control(func(fd uintptr) { dupErr = unix.Dup3(worker, int(fd), unix.O_CLOEXEC) }); err != nil {
		return err
	}
	return dupErr
}

// Close ends the Relay. Workers that live on fail to write, and are not ended by
// that.
func (r *Relay) Close() {
	r.Flush()
	r.mu.Lock()
	r.closed = true
	close(r.stop)
	end := r.end // which stays from now on
	r.mu.Unlock()
	// Without the lock: Close waits for the Read of run, which may want it.
	end.Close()
	<-r.done
	r.file.Close()
}
