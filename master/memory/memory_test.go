package memory

import (
	"runtime"
	"testing"
)

// What was used and is dropped goes back, and what lives stays.
func TestReturn(t *testing.T) {
	const size = 64 << 20
	live := make([]byte, size)
	for i := range live {
		live[i] = 1
	}
	dropped := make([]byte, size)
	for i := range dropped {
		dropped[i] = 1
	}
	runtime.KeepAlive(dropped)
	runtime.GC() // finds it, and keeps it for the next use
	if idle, _ := unused(); idle < size {
		t.Fatalf("%d bytes are held for nothing before", idle)
	}
	var r Return
	r.Now()
	idle, inUse := unused()
	if idle > size/2 || inUse < size {
		t.Errorf("%d bytes are held for nothing, %d live", idle, inUse)
	}
	runtime.KeepAlive(live)
	if r.underWay.Load() {
		t.Error("it is still under way")
	}
}
