package result

import (
	"math"
	"slices"
)

// A Summary describes repeated measurements of one thing. The spread is the
// range between the quartiles: on a machine that others use, one disturbed
// round in five is normal and says nothing.
type Summary struct {
	N         int
	Median    float64
	Low, High float64 // lower and upper quartile
}

// Summarize describes values; their order does not matter. NaN and infinities
// are left out: they are measurements that failed.
func Summarize(values []float64) Summary {
	sorted := make([]float64, 0, len(values))
	for _, v := range values {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			sorted = append(sorted, v)
		}
	}
	slices.Sort(sorted)
	return Summary{
		N:      len(sorted),
		Median: quantile(sorted, 0.5),
		Low:    quantile(sorted, 0.25),
		High:   quantile(sorted, 0.75),
	}
}

// quantile interpolates between the two nearest of the sorted values, the
// definition that spreadsheets use (Hyndman and Fan's type 7). It is NaN when
// there are none.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	at := q * float64(len(sorted)-1)
	below := int(at)
	above := min(below+1, len(sorted)-1)
	return sorted[below] + (at-float64(below))*(sorted[above]-sorted[below])
}

// quotients describes a/b over the rounds that both have. The quotient is taken
// within each round, and the median comes after.
func quotients(a, b map[int]float64) Summary {
	var ratios []float64
	for round, v := range a {
		if w, ok := b[round]; ok && w != 0 {
			ratios = append(ratios, v/w)
		}
	}
	return Summarize(ratios)
}
