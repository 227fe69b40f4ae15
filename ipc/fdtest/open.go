package fdtest

import "os"

// TB is what Open needs of a test. It is less than testing.TB, which the tests that a
// property test makes (rapid.T) do not implement.
type TB interface {
	Helper()
	Fatal(args ...any)
}

// Open returns how many descriptors this process has open. The one that Open looks with
// is always among them, so that two numbers can be compared.
func Open(t TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
