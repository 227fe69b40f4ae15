package threads

import (
	"runtime"
	"sync"
)

// Preallocate makes the Go runtime hold at least n threads, most of them
// idle.
//
// Go makes a thread when it needs one, and it ends the whole process when the
// system refuses. Where RLIMIT_NPROC or the pids controller of a cgroup refuses
// new processes, it refuses new threads, too. A master has to survive that, so
// it makes its threads at the start. The runtime reuses threads that exist and
// never gives them back.
func Preallocate(n int) {
	var all, done sync.WaitGroup
	all.Add(n)
	for range n {
		done.Go(func() {
			// Each locked goroutine that waits needs a thread of its own.
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			all.Done()
			all.Wait()
		})
	}
	done.Wait()
}
