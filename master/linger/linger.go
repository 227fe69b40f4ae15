package linger

import (
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/epoll"
)

// The bounds of one connection, the same as those of workers that are built on the
// SDK (package worker).
const (
	MaxTime  = 2 * time.Second
	MaxBytes = 1 << 20
)

// A Kind is why a connection is closed. Each kind has bounds of its own, so that
// refused clients take nothing from those that were served.
type Kind int

const (
	Refused Kind = iota // the master has refused it
	Served              // a program has served it
	kinds
)

// MaxAtOnce is how many connections of each kind linger at the same time. Every
// spawn copies their descriptors, so there are not very many. One more makes the
// longest lingering one close before its time.
var MaxAtOnce = [kinds]int{Refused: 64, Served: 256}

// readSize is how many bytes are read from one connection before it is the turn of
// the next one.
const readSize = 64 << 10

// A Closer closes connections. Any goroutine may use it.
type Closer struct {
	epoll *epoll.Set
	buf   []byte // of the goroutine

	// reading is held while events are taken into account, and by Pause. It is taken
	// before mu.
	reading sync.Mutex

	mu       sync.Mutex // guards what follows
	entries  map[int]*entry
	queues   [kinds][]*entry // that linger, the longest lingering first; nil for those that have ended
	closed   bool
	deadline time.Time       // of the goroutine's wait; zero for none
	idle     []chan struct{} // closed when nothing lingers any more
	restored []*entry        // that are to be watched from Resume on
}

// An entry is a connection that lingers.
type entry struct {
	fd    int
	file  *os.File // the owner of fd; nil if there is none
	kind  Kind
	until time.Time
	left  int // bytes that may still come
}

func (e *entry) close() {
	if e.file != nil {
		e.file.Close()
	} else {
		unix.Close(e.fd)
	}
}

// New returns a Closer. The caller must call Run, and Close at the end.
func New() (*Closer, error) {
	set, err := epoll.New()
	if err != nil {
		return nil, err
	}
	return &Closer{epoll: set, buf: make([]byte, readSize), entries: map[int]*entry{}}, nil
}

// Close takes ownership of a connection, a stream socket, and closes it now or
// later. Nobody else may hold it who wants to go on sending. Close never waits.
func (c *Closer) Close(fd int, kind Kind) { c.end(&entry{fd: fd, kind: kind}) }

// CloseFile is Close for a descriptor that belongs to a file.
func (c *Closer) CloseFile(file *os.File, kind Kind) {
	c.end(&entry{fd: int(file.Fd()), file: file, kind: kind})
}

func (c *Closer) end(e *entry) {
	if e.kind == Served && !Disarm(e.fd) || e.discard() || unix.Shutdown(e.fd, unix.SHUT_WR) != nil {
		e.close()
		return
	}
	e.until = time.Now().Add(MaxTime)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.watch(e.fd) != nil {
		e.close()
		return
	}
	if len(c.queues[e.kind]) >= MaxAtOnce[e.kind] {
		c.compact(e.kind)
		if q := c.queues[e.kind]; len(q) >= MaxAtOnce[e.kind] {
			c.finish(q[0])
			c.compact(e.kind)
		}
	}
	c.entries[e.fd] = e
	c.queues[e.kind] = append(c.queues[e.kind], e)
	if c.deadline.IsZero() {
		// All of them linger for the same time, so the first one is the first
		// to be over.
		c.setDeadline(e.until)
	}
}

// CloseIfOver closes a connection if its client has ended its side or has gone. It
// reports whether it has closed it. It is for descriptors that are valid on the
// calling thread only, so that a Closer cannot have them.
func CloseIfOver(fd int) (closed bool) {
	e := entry{fd: fd, kind: Served}
	if Disarm(fd) && !e.discard() {
		return false
	}
	e.close()
	return true
}

// GiveUp closes a descriptor of a connection that others use. It does not end the
// connection for them, and never waits.
func GiveUp(fd int) {
	Disarm(fd)
	unix.Close(fd)
}

// Disarm has the close of a connection wait for nothing. The program may have set
// SO_LINGER (socket(7)): with a time, the last close would wait for as long as the
// program liked. It reports false if the program wants a reset at the end, which is
// a linger time of 0.
func Disarm(fd int) (linger bool) {
	l, err := unix.GetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER)
	if err != nil || l.Onoff == 0 {
		return true
	}
	if l.Linger == 0 {
		return false
	}
	return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{}) == nil
}

// discard discards a first piece of what has come. It reports whether nothing more
// can come, so that the connection may be closed.
func (e *entry) discard() (over bool) {
	var buf [512]byte
	e.left = MaxBytes
	return e.read(buf[:])
}

// read discards what has come, at most the size of buf, and reports whether
// nothing more can come or may come.
func (e *entry) read(buf []byte) (over bool) {
	// MSG_TRUNC spares the copy where the protocol is TCP (tcp(7)).
	n, _, err := unix.Recvfrom(e.fd, buf, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return false
	case err != nil || n == 0:
		return true // the end of the client's side, or a reset
	}
	e.left -= n
	return e.left <= 0
}

// Lingering returns a channel that is closed when no connection lingers any more.
func (c *Closer) Lingering() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	done := make(chan struct{})
	if len(c.entries) == 0 {
		close(done)
	} else {
		c.idle = append(c.idle, done)
	}
	return done
}

// Count returns how many connections linger.
func (c *Closer) Count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries)
}

// End ends Run and closes everything that lingers. What is closed later does not
// linger.
func (c *Closer) End() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, e := range c.entries {
		c.finish(e)
	}
	c.epoll.Close()
}
