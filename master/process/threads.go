package process

import (
	"runtime"
	"sync"
)

// WarmThreads makes the runtime hold at least n threads, most of them idle.
//
// Go makes a thread when one is needed, and ends the whole process when the
// system refuses it. Where processes are short, because of RLIMIT_NPROC or the
// pids controller of a cgroup, threads are short too: it would be the master
// that dies of what it is there to survive. Threads that exist are used again
// and never given back.
func WarmThreads(n int) {
	var all, done sync.WaitGroup
	all.Add(n)
	for range n {
		done.Go(func() {
			// Locked goroutines that wait for each other need a thread each.
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			all.Done()
			all.Wait()
		})
	}
	done.Wait()
}
