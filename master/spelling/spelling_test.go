package spelling

import "testing"

func TestNearest(t *testing.T) {
	allowed := []string{"open", "openat", "@mount", "a"}
	for found, want := range map[string]string{
		"opne":    "open",   // two letters swapped
		"OPENAT":  "openat", // capitals
		"openatt": "openat",
		"mount":   "@mount",
		"b":       "a", // one letter may always be wrong
		"opens":   "open",
		"oxxn":    "", // more than a third
		"":        "a",
		"unshare": "",
	} {
		if got := Nearest(found, allowed); got != want {
			t.Errorf("nearest to %q is %q, want %q", found, got, want)
		}
	}
}

// A word of any length costs little.
func TestLongWordsAreNotNear(t *testing.T) {
	long := string(make([]byte, 1<<20))
	if got := Nearest(long, []string{long[1:] + "x"}); got != "" {
		t.Errorf("a word of %d bytes is near", len(long))
	}
}
