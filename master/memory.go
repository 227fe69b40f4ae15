package master

import (
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

// leastReturned is how much memory there must be to give back, in bytes, before it
// is worth a collection.
const leastReturned = 8 << 20

// A memoryReturn gives memory back to the system that a configuration was read and
// compiled with. The runtime would keep it: it lets the heap grow to twice of what
// lives, and thousands of services live for long.
//
// The collection stops nothing, but costs CPU time in proportion to what lives, so
// it is for the start and for a reload.
type memoryReturn struct{ underWay atomic.Bool }

// now gives memory back, and waits for it.
func (r *memoryReturn) now() {
	if !r.underWay.CompareAndSwap(false, true) {
		return
	}
	defer r.underWay.Store(false)
	if unused, live := unusedMemory(); unused > leastReturned && unused > live/4 {
		debug.FreeOSMemory()
	}
}

// unusedMemory returns how many bytes the heap holds for nothing: of objects that
// were made since the last collection, which may be in use, and of none at all; and
// how many the last collection has found to be in use.
func unusedMemory() (unused, live uint64) {
	samples := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"}, {Name: "/gc/heap/live:bytes"},
	}
	metrics.Read(samples)
	live = samples[3].Value.Uint64()
	held := samples[0].Value.Uint64() + samples[1].Value.Uint64() + samples[2].Value.Uint64()
	return held - min(held, live), live
}
