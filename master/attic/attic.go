package attic

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// An Attic is a thread with descriptors of its own. Its methods may be called
// by several goroutines at a time.
type Attic struct {
	mu    sync.Mutex // of who goes there
	entry int        // descriptors are sent here
	exit  int        // and received here; a number of the attic's
	sent  byte       // what the last message holds, to tell it from those before
	calls chan func()
	done  chan struct{} // one call is
}

// Open makes an attic. The error says what the system does not allow.
func Open() (*Attic, error) {
	a := &Attic{calls: make(chan func()), done: make(chan struct{})}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	defer unix.Close(pair[1]) // here; there it stays
	a.entry, a.exit = pair[0], pair[1]
	kept, err := runtimes()
	if err == nil {
		opened := make(chan error)
		go a.run(append(kept, a.exit), opened)
		err = <-opened
	}
	if err != nil {
		unix.Close(a.entry)
		return nil, err
	}
	return a, nil
}

// runtimes returns the descriptors that Go's runtime may use on any thread: of
// its poller, and of what wakes that. In a table of its own a thread must find
// the same behind these numbers.
func runtimes() ([]int, error) {
	// The poller is made when it is needed first, and once.
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	r.Close()
	w.Close()
	paths, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		return nil, err
	}
	var fds []int
	found := map[string]bool{}
	for _, path := range paths {
		kind, err := os.Readlink(path)
		if err != nil || kind != "anon_inode:[eventpoll]" && kind != "anon_inode:[eventfd]" {
			continue
		}
		fd, err := strconv.Atoi(filepath.Base(path))
		if err != nil {
			return nil, err
		}
		fds = append(fds, fd)
		found[kind] = true
	}
	if len(found) != 2 {
		return nil, fmt.Errorf("the runtime's poller is not among the %d descriptors in /proc/self/fd", len(paths))
	}
	return fds, nil
}

// run is the thread. It ends with the goroutine, which never unlocks it, and
// its table with it.
func (a *Attic) run(kept []int, opened chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// The main thread is not for this: it does not end with its goroutine,
		// and /proc shows its table for that of the process. While this
		// goroutine is locked to it, the other one runs elsewhere.
		other := make(chan error)
		go a.run(kept, other)
		err := <-other
		runtime.UnlockOSThread()
		opened <- err
		return
	}
	err := os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_FILES))
	if err == nil {
		err = closeAllBut(kept)
	}
	opened <- err
	if err != nil {
		return
	}
	for f := range a.calls {
		f()
		a.done <- struct{}{}
	}
}

// closeAllBut closes what the thread's table was made with, except standard
// input, output and error, and the ones kept.
func closeAllBut(kept []int) error {
	slices.Sort(kept)
	from := 3
	for _, fd := range append(kept, 1<<31-1) {
		if fd > from {
			if err := unix.CloseRange(uint(from), uint(fd-1), 0); err != nil {
				return os.NewSyscallError("close_range", err)
			}
		}
		from = fd + 1
	}
	return nil
}

// Do runs f where the numbers mean the attic's descriptors. It is for a few
// system calls that do not wait: f must not use package os or net, whose
// descriptors are not there, nor the attic itself.
func (a *Attic) Do(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.do(f)
}

func (a *Attic) do(f func()) {
	a.calls <- f
	<-a.done
}

// atOnce is how many descriptors one message may carry (SCM_MAX_FD, unix(7)).
const atOnce = 253

// Put brings descriptors there and returns their numbers there, in the same
// order. The caller still owns its own and, as a rule, closes them. On error
// those that are returned are there, and the rest is not.
func (a *Attic) Put(fds []int) (there []int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for some := range slices.Chunk(fds, atOnce) {
		numbers, err := a.put(some)
		if err != nil {
			return there, err
		}
		there = append(there, numbers...)
	}
	return there, nil
}

func (a *Attic) put(fds []int) (there []int, err error) {
	a.sent++
	if err := unix.Sendmsg(a.entry, []byte{a.sent}, unix.UnixRights(fds...), nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL); err != nil {
		return nil, os.NewSyscallError("sendmsg", err)
	}
	a.do(func() {
		for last := false; !last && err == nil; {
			there, last, err = a.receive()
			if last && len(there) == len(fds) {
				return
			}
			for _, fd := range there {
				unix.Close(fd)
			}
		}
		if err == nil {
			err = fmt.Errorf("%d of %d descriptors arrived: %w", len(there), len(fds), unix.EMFILE)
		}
		there = nil
	})
	return there, err
}

// receive takes one message in, and reports whether it is the last: there are
// others before that when these could not be received at their time.
func (a *Attic) receive() (there []int, last bool, err error) {
	var sent [1]byte
	control := make([]byte, unix.CmsgSpace(atOnce*4))
	_, n, _, _, err := unix.Recvmsg(a.exit, sent[:], control, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
	if err != nil {
		return nil, false, os.NewSyscallError("recvmsg", err)
	}
	if messages, _ := unix.ParseSocketControlMessage(control[:n]); len(messages) == 1 {
		there, _ = unix.ParseUnixRights(&messages[0])
	}
	return there, sent[0] == a.sent, nil
}

// Close closes all that is there. Nothing may be done with the attic after it.
func (a *Attic) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.calls)
	unix.Close(a.entry)
}
