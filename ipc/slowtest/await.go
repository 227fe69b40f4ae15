package slowtest

import (
	"testing"
	"time"
)

// awaitLimit is ample for what a test waits for, on a usual machine.
const awaitLimit = time.Minute

// Await waits until a condition holds, and fails the test where it does not in time.
// what says in the failure what was waited for. Await asks on the goroutine of the test.
func Await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	limit := Scale(awaitLimit)
	for deadline := time.Now().Add(limit); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}
