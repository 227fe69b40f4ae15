// Package stats reduces repeated measurements: median, quartiles, and ratios
// taken within a round. It knows nothing of what was measured.
package stats
