package memory

import (
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

// leastReturned is how much memory there must be to give back, in bytes, before it
// is worth a collection.
const leastReturned = 8 << 20

// A Return gives memory back to the system that a configuration was read and
// compiled with. The runtime would keep it: it lets the heap grow to twice of what
// lives, and thousands of services live for long. The zero Return is ready, and any
// goroutine may use it.
//
// The collection stops nothing, but costs CPU time in proportion to what lives, so
// it is for the start and for a reload.
type Return struct{ underWay atomic.Bool }

// Now gives memory back if it is worth it, and waits for it. It does nothing while
// another goroutine does the same.
func (r *Return) Now() {
	if !r.underWay.CompareAndSwap(false, true) {
		return
	}
	defer r.underWay.Store(false)
	if idle, live := unused(); idle > leastReturned && idle > live/4 {
		debug.FreeOSMemory()
	}
}

// unused returns how many bytes the heap holds for nothing: of objects that
// were made since the last collection, which may be in use, and of none at all; and
// how many the last collection has found to be in use.
func unused() (idle, live uint64) {
	samples := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"}, {Name: "/gc/heap/live:bytes"},
	}
	metrics.Read(samples)
	live = samples[3].Value.Uint64()
	held := samples[0].Value.Uint64() + samples[1].Value.Uint64() + samples[2].Value.Uint64()
	return held - min(held, live), live
}
