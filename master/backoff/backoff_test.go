package backoff

import (
	"slices"
	"testing"
	"time"
)

func TestBackoff(t *testing.T) {
	const ms = time.Millisecond
	var b Backoff
	if b.Reset() {
		t.Error("a success at first ends failures that there were none of")
	}
	want := []time.Duration{5 * ms, 10 * ms, 20 * ms, 40 * ms, 80 * ms, 160 * ms, 320 * ms, 640 * ms, 1000 * ms, 1000 * ms}
	for range 2 {
		var got []time.Duration
		for range want {
			got = append(got, b.Next())
		}
		if !slices.Equal(got, want) {
			t.Errorf("delays %v, want %v", got, want)
		}
		if !b.Reset() || b.Reset() {
			t.Error("the first success after failures ends them, and the next one does not")
		}
	}
}
