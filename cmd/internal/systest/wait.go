package systest

import (
	"testing"
	"time"
)

// Until polls a state that has no event of its own, such as one in /proc,
// until it holds. describe, which may be nil, says what the state was instead
// when it never came.
func Until(t testing.TB, what string, holds func() bool, describe func() string) {
	t.Helper()
	for end := time.Now().Add(Deadline()); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			state := ""
			if describe != nil {
				state = ": " + describe()
			}
			t.Fatalf("not %s after %v%s", what, Deadline(), state)
		}
	}
}
