package statusview

import (
	"cmp"
	"math"
	"slices"

	"github.com/preforkd/preforkd/master/control"
)

// sortServices returns the services in the order of doc.go.
func sortServices(s control.Status) []control.Service {
	rank := func(service control.Service) int {
		for i, p := range s.Master.Problems {
			if p.Service == service.Name {
				return i
			}
		}
		if service.State != serving {
			return len(s.Master.Problems)
		}
		return math.MaxInt
	}
	sorted := slices.Clone(s.Services)
	slices.SortStableFunc(sorted, func(a, b control.Service) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(slotUsage(b), slotUsage(a)))
	})
	return sorted
}

// serving is the normal state of a service and of a connection.
const serving = "serving"

// slotUsage returns the used part of a service's slots, from 0 to 1.
func slotUsage(s control.Service) float64 {
	return float64(s.Slots) / float64(max(s.Limit, 1))
}

// sortConnections returns the connections in the order of doc.go. A connection whose
// CPU time is unknown comes after the others.
func sortConnections(connections []control.Connection) []control.Connection {
	cpu := func(c control.Connection) float64 {
		if c.CPU == nil {
			return -1
		}
		return *c.CPU
	}
	sorted := slices.Clone(connections)
	slices.SortStableFunc(sorted, func(a, b control.Connection) int {
		return cmp.Or(cmp.Compare(cpu(b), cpu(a)), cmp.Compare(b.Age, a.Age))
	})
	return sorted
}
