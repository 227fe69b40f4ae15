package oomscore

import (
	"sync"
	"testing"

	"github.com/preforkd/preforkd/ipc/needtest"
)

// Checks at the same time, as of two reloads of which one was given up, leave this
// process its own adjustment.
func TestChecksAtTheSameTime(t *testing.T) {
	before, ok := Own()
	if !ok {
		needtest.Skip(t, "needs /proc/PID/oom_score_adj")
	}
	// As low as it was it may be again (proc_pid_oom_score_adj(5)).
	raised := min(before+8, Highest)
	if err := write(own, raised, nil); err != nil {
		needtest.Skip(t, "needs /proc for writing: "+err.Error())
	}
	defer write(own, before, nil)
	var done sync.WaitGroup
	for i := range 8 {
		done.Go(func() {
			for range 200 {
				if err := CheckAllowed(max(before, raised-i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done.Wait()
	if after, _ := Own(); after != raised {
		t.Errorf("the adjustment is %d, and was %d", after, raised)
	}
}
