package process

import (
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/osthread"
)

// A Umask starts processes with a umask other than the master's.
//
// Neither os/exec nor SysProcAttr can set a umask between fork and exec. But
// Linux keeps the umask and the working directory in a structure that threads
// share. A thread can ask for its own (CLONE_FS, unshare(2)). A child gets a
// copy of the structure of the thread that forks it. So a Umask owns a few
// threads that have a umask of their own, and starts processes on them. No
// helper program stands between the master and the worker, and the threads
// exist before threads become short.
type Umask struct {
	threads chan *osthread.Thread // those that start nothing at the moment
}

var umasks struct {
	sync.Mutex
	byBits map[uint32]*Umask
}

// NewUmask returns the Umask for these permission bits. There are at most 512
// of them. Each one is made on first use and kept for ever, so its users need
// not release it.
func NewUmask(bits uint32) (*Umask, error) {
	umasks.Lock()
	defer umasks.Unlock()
	if u := umasks.byBits[bits]; u != nil {
		return u, nil
	}
	u, err := newUmask(runtime.GOMAXPROCS(0), func() error { return setUmask(bits) })
	if err != nil {
		return nil, err
	}
	if umasks.byBits == nil {
		umasks.byBits = map[uint32]*Umask{}
	}
	umasks.byBits[bits] = u
	return u, nil
}

// newUmask starts n threads with a setup that gives each its umask. When one of
// them fails, all of them end.
func newUmask(n int, setup func() error) (*Umask, error) {
	u := &Umask{threads: make(chan *osthread.Thread, n)}
	for range n {
		thread, err := osthread.Start(setup)
		if err != nil {
			close(u.threads)
			for thread := range u.threads {
				thread.Close()
			}
			return nil, err
		}
		u.threads <- thread
	}
	return u, nil
}

// setUmask gives the calling thread a umask of its own.
func setUmask(bits uint32) error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("give a thread its own umask: %w", err)
	}
	unix.Umask(int(bits))
	return nil
}

// run calls f, which starts a process, on a thread with this umask. When all
// threads are busy it waits for one.
func (u *Umask) run(f func() error) (err error) {
	thread := <-u.threads
	defer func() { u.threads <- thread }()
	thread.Do(func() { err = f() })
	return err
}
