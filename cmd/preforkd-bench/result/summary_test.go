package result

import (
	"math"
	"testing"
)

func TestSummarize(t *testing.T) {
	for name, c := range map[string]struct {
		values []float64
		want   Summary
	}{
		"one":              {[]float64{7}, Summary{1, 7, 7, 7}},
		"even":             {[]float64{4, 1, 3, 2}, Summary{4, 2.5, 1.75, 3.25}},
		"one outlier":      {[]float64{10, 12, 11, 13, 9000}, Summary{5, 12, 11, 13}},
		"failures between": {[]float64{math.NaN(), 1, math.Inf(1), 3}, Summary{2, 2, 1.5, 2.5}},
	} {
		if got := Summarize(c.values); got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
	if got := Summarize(nil); got.N != 0 || !math.IsNaN(got.Median) {
		t.Errorf("nothing: got %+v, want NaN", got)
	}
}

// A machine that is twice as slow in some rounds must not show in a ratio.
func TestRatioIsTakenWithinRounds(t *testing.T) {
	a := map[int]float64{1: 10, 2: 20, 3: 10, 4: 1e9}
	b := map[int]float64{1: 5, 2: 10, 3: 5, 5: 1}
	if got, want := quotients(a, b), (Summary{3, 2, 2, 2}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := quotients(a, map[int]float64{1: 0}); got.N != 0 {
		t.Errorf("division by zero counted: %+v", got)
	}
}
