package threads

import (
	"os"
	"runtime"
	"sync"
)

// Preallocate makes this process hold n threads, most of them idle. Those count
// that it has already, such as the runtime's own.
//
// Go makes a thread when it needs one, and it ends the whole process when the
// system refuses. Where RLIMIT_NPROC or the pids controller of a cgroup refuses
// new processes, it refuses new threads, too. A master has to survive that, so
// it makes its threads at the start. The runtime reuses threads that exist and
// never gives them back.
func Preallocate(n int) {
	release := make(chan struct{})
	var done sync.WaitGroup
	// Where the threads cannot be counted there are n at least.
	for missing, made := n-count(), 0; missing > 0 && made < n; missing = n - count() {
		var begun sync.WaitGroup
		for ; missing > 0 && made < n; missing, made = missing-1, made+1 {
			begun.Add(1)
			done.Go(func() {
				// Each locked goroutine that waits needs a thread of its own.
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				begun.Done()
				<-release
			})
		}
		begun.Wait()
	}
	close(release)
	done.Wait()
}

// count returns how many threads this process has, 0 if the kernel does not tell.
func count() int {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return 0
	}
	return len(tasks)
}
