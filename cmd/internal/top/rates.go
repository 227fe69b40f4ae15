package top

import (
	"fmt"
	"math"

	"github.com/preforkd/preforkd/master/control"
)

// rates are the changes per second between two statuses. They are unknown after the
// first status of a master.
type rates struct {
	known                     bool
	accepted, refused, failed float64
	in, out                   float64 // bytes of the connections that are in both statuses
	cpu                       float64 // CPU seconds of the master itself per second
	services                  map[string]float64
	connections               map[string]float64 // CPU seconds per second
}

func computeRates(before, after control.Status) rates {
	seconds := after.Taken.Sub(before.Taken).Seconds()
	if seconds <= 0 || before.Master.PID != after.Master.PID || !before.Master.Started.Equal(after.Master.Started) {
		return rates{}
	}
	perSec := func(before, after uint64) float64 {
		if after < before {
			return 0 // a service that returned under its old name starts at 0
		}
		return float64(after-before) / seconds
	}
	a, b := before.Master, after.Master
	r := rates{
		known:    true,
		accepted: perSec(a.Accepted, b.Accepted), refused: perSec(a.Refused, b.Refused), failed: perSec(a.Failed, b.Failed),
		cpu:         (b.UserTime + b.SysTime - a.UserTime - a.SysTime) / seconds,
		services:    map[string]float64{},
		connections: map[string]float64{},
	}
	acceptedBefore := map[string]uint64{}
	for _, s := range before.Services {
		acceptedBefore[s.Name] = s.Accepted
	}
	for _, s := range after.Services {
		if n, ok := acceptedBefore[s.Name]; ok {
			r.services[s.Name] = perSec(n, s.Accepted)
		}
	}
	connectionsBefore := map[string]control.Connection{}
	for _, c := range before.Connections {
		connectionsBefore[c.ID] = c
	}
	for _, c := range after.Connections {
		was, ok := connectionsBefore[c.ID]
		if !ok {
			continue
		}
		if c.BytesIn != nil && was.BytesIn != nil {
			r.in += perSec(*was.BytesIn, *c.BytesIn)
		}
		if c.BytesOut != nil && was.BytesOut != nil {
			r.out += perSec(*was.BytesOut, *c.BytesOut)
		}
		if c.CPU != nil && was.CPU != nil && c.PID == was.PID {
			r.connections[c.ID] = max(0, *c.CPU-*was.CPU) / seconds
		}
	}
	return r
}

// cpuLoad returns the CPU load by which connections are sorted: the current load, or
// the average load while the current one is unknown. It is in thousandths, the shown
// precision, so that equal numbers on the screen are equal.
func (r rates) cpuLoad(c control.Connection) float64 {
	if load, ok := r.connections[c.ID]; ok {
		return math.Round(1000 * load)
	}
	if c.CPU == nil {
		return -1
	}
	return math.Round(1000 * *c.CPU / max(c.Age, 1))
}

// percent formats a part of one CPU.
func percent(load float64) string { return fmt.Sprintf("%.1f%%", 100*load) }

// perSecond formats a rate: 0, 0.3, 12.
func perSecond(rate float64) string {
	if rate == 0 || rate >= 9.95 {
		return fmt.Sprintf("%.0f", rate)
	}
	return fmt.Sprintf("%.1f", rate)
}
