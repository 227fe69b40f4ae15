package show

import (
	"cmp"
	"math"
	"slices"

	"github.com/preforkd/preforkd/master/control"
)

// servicesByTrouble returns the services in the order in which they matter.
func servicesByTrouble(s control.Status) []control.Service {
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
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(fullness(b), fullness(a)))
	})
	return sorted
}

// serving is the state of a service and of a connection about which nothing is
// special.
const serving = "serving"

// fullness is the part of the slots that is taken.
func fullness(s control.Service) float64 {
	return float64(s.Slots) / float64(max(s.Limit, 1))
}

// connectionsByCost returns the connections in the order in which they matter.
// Where it is not known how much CPU a worker used, it comes after the others.
func connectionsByCost(connections []control.Connection) []control.Connection {
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
