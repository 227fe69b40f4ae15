package backoff

import (
	"testing"
	"time"
)

func TestBackoff(t *testing.T) {
	var b Backoff
	if b.Failing() || b.Reset() {
		t.Error("a new one has seen a failure")
	}
	want := Min
	for i := range 12 {
		if got := b.Next(); got != want || !b.Failing() {
			t.Errorf("pause %d: %v, want %v", i, got, want)
		}
		want = min(2*want, time.Second)
	}
	if !b.Reset() || b.Failing() || b.Reset() {
		t.Error("a success does not end the row of failures")
	}
	if got := b.Next(); got != Min {
		t.Errorf("after a success the first pause is %v, want %v", got, Min)
	}
}
