package osthread

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// A Thread is an operating-system thread that runs functions one at a time. Its
// methods may be called by several goroutines at once.
type Thread struct {
	// Neither channel has a buffer. So the thread takes the next call only when
	// the caller of the last one has learned that it has returned.
	calls chan func()
	done  chan struct{}
}

// Start creates a thread and runs setup on it. The thread blocks no signal, so that
// what it starts does not. Setup gives the thread the state of its own, with
// unshare(2). When setup fails, the thread ends and Start returns the error of
// setup. Otherwise the caller must call Close.
//
// The thread is never the main thread of the process. The main thread does not
// end with its goroutine, and /proc/PID shows its state as that of the process.
func Start(setup func() error) (*Thread, error) {
	t := &Thread{calls: make(chan func()), done: make(chan struct{})}
	ready := make(chan error)
	go t.run(setup, ready)
	if err := <-ready; err != nil {
		return nil, err
	}
	return t, nil
}

// run is the goroutine of the thread. It never unlocks a thread on which setup
// has run: the runtime ends a locked thread when its goroutine returns.
func (t *Thread) run(setup func() error, ready chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// This goroutine keeps the main thread busy until a second goroutine
		// has got another thread.
		other := make(chan error)
		go t.run(setup, other)
		err := <-other
		runtime.UnlockOSThread()
		ready <- err
		return
	}
	resetSlack()
	unblockSignals()
	err := setup()
	ready <- err
	if err != nil {
		return
	}
	for f := range t.calls {
		f()
		t.done <- struct{}{}
	}
}

// Run runs f on a thread of its own, which ends with it, and returns its result. What
// f does to the thread, with setns(2) say, nobody else sees.
func Run(f func() error) error {
	t, err := Start(f)
	if err == nil {
		t.Close()
	}
	return err
}

// Do runs f on the thread and returns when f has returned. A second caller
// waits for the first. f must not call a method of the same Thread.
func (t *Thread) Do(f func()) {
	t.calls <- f
	<-t.done
}

// Close ends the thread after the call that is running. It does not wait for
// the kernel to release the state of the thread. No call may wait or begin
// when Close is called.
func (t *Thread) Close() {
	close(t.calls)
}
