package top

import (
	"fmt"
	"math"

	"github.com/preforkd/preforkd/master/control"
)

// Rates are what has changed between two looks, for each second between them.
// Those of the first look, and of the first at another master, are not known.
type rates struct {
	known                     bool
	accepted, refused, failed float64
	in, out                   float64 // bytes, of the connections of both looks
	cpu                       float64 // of the master itself: seconds in each second
	services                  map[string]float64
	connections               map[string]float64 // CPU again
}

func ratesBetween(before, after control.Status) rates {
	seconds := after.Taken.Sub(before.Taken).Seconds()
	if seconds <= 0 || before.Master.PID != after.Master.PID || !before.Master.Started.Equal(after.Master.Started) {
		return rates{}
	}
	per := func(before, after uint64) float64 {
		if after < before {
			return 0 // a service that is back under its old name counts anew
		}
		return float64(after-before) / seconds
	}
	a, b := before.Master, after.Master
	r := rates{
		known:    true,
		accepted: per(a.Accepted, b.Accepted), refused: per(a.Refused, b.Refused), failed: per(a.Failed, b.Failed),
		cpu:         (b.UserTime + b.SysTime - a.UserTime - a.SysTime) / seconds,
		services:    map[string]float64{},
		connections: map[string]float64{},
	}
	counted := map[string]uint64{}
	for _, s := range before.Services {
		counted[s.Name] = s.Accepted
	}
	for _, s := range after.Services {
		if n, ok := counted[s.Name]; ok {
			r.services[s.Name] = per(n, s.Accepted)
		}
	}
	old := map[string]control.Connection{}
	for _, c := range before.Connections {
		old[c.ID] = c
	}
	for _, c := range after.Connections {
		was, ok := old[c.ID]
		if !ok {
			continue
		}
		if c.BytesIn != nil && was.BytesIn != nil {
			r.in += per(*was.BytesIn, *c.BytesIn)
		}
		if c.BytesOut != nil && was.BytesOut != nil {
			r.out += per(*was.BytesOut, *c.BytesOut)
		}
		if c.CPU != nil && was.CPU != nil && c.PID == was.PID {
			r.connections[c.ID] = max(0, *c.CPU-*was.CPU) / seconds
		}
	}
	return r
}

// load is what a connection is sorted by: the CPU that it uses now, or, before
// that is known, what it has used on average. It is in thousandths, the digits
// that are shown, so that what looks equal is.
func (r rates) load(c control.Connection) float64 {
	if load, ok := r.connections[c.ID]; ok {
		return math.Round(1000 * load)
	}
	if c.CPU == nil {
		return -1
	}
	return math.Round(1000 * *c.CPU / max(c.Age, 1))
}

// percent writes a part of one CPU.
func percent(load float64) string { return fmt.Sprintf("%.1f%%", 100*load) }

// perSecond writes how often something happens: 0, 0.3, 12.
func perSecond(rate float64) string {
	if rate == 0 || rate >= 9.95 {
		return fmt.Sprintf("%.0f", rate)
	}
	return fmt.Sprintf("%.1f", rate)
}
