package backoff

import (
	"testing"
	"time"
)

func TestRestore(t *testing.T) {
	var b Backoff
	for range 4 {
		again, err := Restore(b.Export())
		if err != nil || again != b {
			t.Fatalf("%v was restored as %v, %v", b, again, err)
		}
		if got, want := again.Next(), b.Next(); got != want {
			t.Errorf("the next pause is %v, want %v", got, want)
		}
	}
	for _, last := range []time.Duration{-1, Max + 1} {
		if _, err := Restore(last); err == nil {
			t.Errorf("a last pause of %v was accepted", last)
		}
	}
}
