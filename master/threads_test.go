package master

import (
	"os"
	"testing"
)

// The threads are there, and stay when nobody uses them.
func TestPrestartThreads(t *testing.T) {
	const n = 40
	if err := prestartThreads(n); err != nil {
		t.Fatal(err)
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	if len(threads) < n {
		t.Errorf("%d threads, want %d at least", len(threads), n)
	}
}
