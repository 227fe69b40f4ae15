package master

import (
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// prestartThreads makes the runtime start n threads now and keep them idle.
//
// A Go program that needs a thread and may not have one dies, without any say
// in it ("failed to create new OS thread", EAGAIN): so would a master whose
// user is out of processes (RLIMIT_NPROC, clone(2)), and with it the accounts
// of all connections. The runtime starts threads when others are busy in
// system calls, and never ends one.
func prestartThreads(n int) error {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	defer unix.Close(ends[0])
	// Each reads from a pipe in blocking mode, which costs it a thread, until
	// the pipe's end.
	var ready, done sync.WaitGroup
	ready.Add(n)
	for range n {
		done.Go(func() {
			runtime.LockOSThread() // a thread of its own, whatever the scheduler does
			defer runtime.UnlockOSThread()
			ready.Done()
			for {
				if _, err := unix.Read(ends[0], make([]byte, 1)); err != unix.EINTR {
					return
				}
			}
		})
	}
	ready.Wait()
	unix.Close(ends[1])
	done.Wait()
	return nil
}
