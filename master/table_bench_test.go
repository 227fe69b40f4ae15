package master

import (
	"fmt"
	"testing"

	"github.com/preforkd/preforkd/master/process"
)

// A worker's way through the table, found once by its pid in between, must cost
// the same however many others there are.
func BenchmarkTable(b *testing.B) {
	for _, live := range []int{10, 10_000} {
		b.Run(fmt.Sprintf("live=%d", live), func(b *testing.B) {
			t := newTable()
			reaped := func() bool { return false }
			w := &worker{}
			// As the kernel gives pids: upwards, and those of old workers stay.
			pid := 0
			for range live {
				pid++
				t.started(w, pid, reaped)
			}
			b.ReportAllocs()
			for b.Loop() {
				pid++
				t.started(w, pid, reaped)
				if !t.has(pid) || t.exited(process.Exit{Pid: pid}) != w {
					b.Fatal("the worker is not in the table")
				}
			}
		})
	}
}
