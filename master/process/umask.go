package process

import (
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// A Umask spawns processes with a umask other than the master's.
//
// Nothing between fork and exec could set it: neither os/exec nor SysProcAttr
// knows it. But Linux keeps it, with the working directory, in a structure that
// threads share unless one asks for its own (CLONE_FS, unshare(2)), and a child
// gets a copy of the one of the thread that forks. So a Umask owns a few threads
// that have their own, and starts processes on them. No program stands between
// the master and the worker for it, and threads are there before there is a
// shortage of them.
type Umask struct{ tasks chan task }

type task struct {
	run  func() error
	done chan<- error
}

var umasks struct {
	sync.Mutex
	byBits map[uint32]*Umask
}

// NewUmask returns what spawns with a umask. There is one for each of the 512,
// made when it is first asked for and kept, so that nobody needs to know when
// the last one is done with it.
func NewUmask(bits uint32) (*Umask, error) {
	umasks.Lock()
	defer umasks.Unlock()
	if u := umasks.byBits[bits]; u != nil {
		return u, nil
	}
	u := &Umask{tasks: make(chan task)}
	for range runtime.GOMAXPROCS(0) {
		started := make(chan error)
		go u.serve(bits, started)
		if err := <-started; err != nil {
			close(u.tasks)
			return nil, err
		}
	}
	if umasks.byBits == nil {
		umasks.byBits = map[uint32]*Umask{}
	}
	umasks.byBits[bits] = u
	return u, nil
}

// serve runs tasks on a thread of its own. The thread is never unlocked: it is
// not fit for anything else.
func (u *Umask) serve(bits uint32, started chan<- error) {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		started <- fmt.Errorf("give a thread its own umask: %w", err)
		return
	}
	unix.Umask(int(bits))
	started <- nil
	for t := range u.tasks {
		t.done <- t.run()
	}
}

func (u *Umask) run(f func() error) error {
	done := make(chan error)
	u.tasks <- task{f, done}
	return <-done
}
