package ledger

import "github.com/preforkd/preforkd/master/control"

// A histogram counts values by size. The zero histogram is empty.
type histogram struct {
	buckets []uint64 // by bound; each without the smaller ones
	count   uint64
	sum     float64
}

// record counts a value. The bounds must be the same every time.
func (h *histogram) record(value float64, bounds []float64) {
	if h.buckets == nil {
		h.buckets = make([]uint64, len(bounds))
	}
	h.count++
	h.sum += value
	for i, bound := range bounds {
		if value <= bound {
			h.buckets[i]++
			return
		}
	}
}

// show returns a copy for a status, whose buckets include the smaller ones.
func (h *histogram) show() control.Histogram {
	shown := control.Histogram{Count: h.count, Sum: h.sum}
	sum := uint64(0)
	for _, n := range h.buckets {
		sum += n
		shown.Buckets = append(shown.Buckets, sum)
	}
	return shown
}
