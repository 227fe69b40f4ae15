package process

import (
	"os"
	"testing"
)

// The threads are there, and stay when nobody uses them.
func TestWarmThreads(t *testing.T) {
	const n = 40
	WarmThreads(n)
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	if len(threads) < n {
		t.Errorf("%d threads, want %d at least", len(threads), n)
	}
}
