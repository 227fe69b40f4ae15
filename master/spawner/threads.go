package spawner

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/osthread"
	"github.com/preforkd/preforkd/master/process"
)

// threadsOfKind is how many threads of each kind have a state of their own. Go holds a
// processor from the fork to the exec, so more of them would hardly start more.
const threadsOfKind = 4

// kinds is how many kinds of threads there are.
const kinds = 2

// threads are the threads that start processes whose umask or capabilities are
// not those of the master's other threads, or that run in a box.
//
// Linux keeps the umask in a structure that threads share, and a thread can ask
// for its own (CLONE_FS, unshare(2)). Capabilities and namespaces always belong to
// a thread. A child gets a copy of all of it from the thread that forks it. So no
// helper program stands between the master and the worker. And the other threads
// keep what the master was given, so that an exec of the master itself hands it on.
type threads struct {
	own      pool
	bare     pool  // whose children never get a capability; see process.Box
	umaskErr error // why they share the umask of the process, or nil
	umask    int   // of the process
}

// A pool holds threads of one kind.
type pool struct {
	idle  chan *thread // that start nothing at the moment; nil: one that was lost
	setup func() error // runs on each new thread
}

// A thread remembers the umask that it has set last.
type thread struct {
	*osthread.Thread
	umask int
}

func newThreads() (*threads, error) {
	t := &threads{
		own:  pool{make(chan *thread, threadsOfKind), process.ClearInheritable},
		bare: pool{make(chan *thread, threadsOfKind), process.ClearBounding},
	}
	for range threadsOfKind {
		for _, p := range []*pool{&t.own, &t.bare} {
			own, err := t.newThread(p)
			if err != nil {
				t.close()
				return nil, err
			}
			p.idle <- own
		}
	}
	return t, nil
}

func (t *threads) newThread(p *pool) (own *thread, err error) {
	own = &thread{}
	own.Thread, err = osthread.Start(func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			t.umaskErr = fmt.Errorf("give a thread its own umask: %w", err)
		} else {
			t.umask = unix.Umask(0)
			own.umask = t.umask
			unix.Umask(t.umask)
		}
		return p.setup()
	})
	return own, err
}

// do runs f on one of the threads of a kind. When all of them are busy it waits for
// one. A thread that f has spoiled (process.ErrThreadLost) ends, and another takes its
// place.
func (t *threads) do(p *pool, f func(own *thread) error) (err error) {
	own := <-p.idle
	defer func() { p.idle <- own }()
	if own == nil {
		if own, err = t.newThread(p); err != nil {
			own = nil
			return err
		}
	}
	own.Do(func() { err = f(own) })
	if errors.Is(err, process.ErrThreadLost) {
		own.Close()
		own = nil
	}
	return err
}

// start calls Command.Start on one of the threads, or has the command's box do so.
func (t *threads) start(c *process.Command, conn *os.File, env []string, message []byte) (child *process.Child, err error) {
	umask := t.umask
	if t.umaskErr != nil && (c.Umask != nil || c.Box != nil) {
		return nil, t.umaskErr
	}
	if c.Umask != nil {
		umask = int(*c.Umask)
	}
	p := &t.own
	if c.Box != nil && c.Box.Bare() {
		p = &t.bare
	}
	err = t.do(p, func(own *thread) error {
		if own.umask != umask {
			unix.Umask(umask)
			own.umask = umask
		}
		if c.Box != nil {
			child, err = c.Box.Start(c, conn, env, message)
		} else {
			child, err = c.Start(conn, env, message)
		}
		return err
	})
	if child != nil {
		err = nil // it runs; that the thread was lost is mended
	}
	return child, err
}

// close ends the threads that are idle.
func (t *threads) close() {
	for _, p := range []*pool{&t.own, &t.bare} {
		p.close()
	}
}

func (p *pool) close() {
	for {
		select {
		case own := <-p.idle:
			if own != nil {
				own.Close()
			}
		default:
			return
		}
	}
}
