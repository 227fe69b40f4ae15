package threads

import (
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// threadIDs returns the threads of this process.
func threadIDs(t *testing.T) map[int]bool {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	ids := map[int]bool{}
	for _, entry := range entries {
		id, err := strconv.Atoi(entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		ids[id] = true
	}
	return ids
}

// Goroutines that need threads later run on those that were made before. No new
// thread is made for them.
func TestPreallocate(t *testing.T) {
	const needed, others = 40, 10 // others: the runtime's own threads may take a few
	n := len(threadIDs(t)) + needed + others
	Preallocate(n)
	before := threadIDs(t)
	if len(before) < n {
		t.Fatalf("%d threads, want %d at least", len(before), n)
	}
	var ready, done sync.WaitGroup
	var mu sync.Mutex
	used := map[int]bool{}
	ready.Add(needed)
	for range needed {
		done.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			mu.Lock()
			used[unix.Gettid()] = true
			mu.Unlock()
			ready.Done()
			ready.Wait()
		})
	}
	done.Wait()
	if len(used) != needed {
		t.Errorf("%d goroutines at once ran on %d threads", needed, len(used))
	}
	for id := range used {
		if !before[id] {
			t.Errorf("thread %d is new", id)
		}
	}
}
