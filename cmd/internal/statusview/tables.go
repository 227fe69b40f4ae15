package statusview

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/human"
)

// ServiceTable returns the table of services, in the order of doc.go:
//
//	LIVE    connections, of as many as there are slots
//	SPARES  ready spares, "+" starting spares, of the maximum
//	QUEUE   connections that wait in the kernel, of the backlog
//	BOX     preset, "*" if keys differ from it, "-" and the number of keys that are missing
//	SPAWN   start time of a worker: the median and the 99th percentile
//
// rate may be nil. It formats how many connections a service accepts per second.
func ServiceTable(s control.Status, rate func(control.Service) string) Table {
	t := Table{Columns: []Column{
		{Head: "SERVICE", Min: 8},
		{Head: "STATE"},
		{Head: "LIVE", Right: true},
		{Head: "SPARES", Right: true, Drop: 2},
		{Head: "ACCEPTED", Right: true},
		{Head: "RATE", Right: true},
		{Head: "REFUSED", Right: true},
		{Head: "FAILED", Right: true},
		{Head: "QUEUE", Right: true, Drop: 1},
		{Head: "BOX", Min: 6, Drop: 7},
		{Head: "SPAWN P50", Right: true, Drop: 4},
		{Head: "SPAWN P99", Right: true, Drop: 3},
		{Head: "HANDLER", Min: 12, Drop: 6},
		{Head: "LISTENERS", Min: 21, Drop: 5},
	}}
	for _, v := range sortServices(s) {
		p50, p99, now := "", "", ""
		if rate != nil {
			now = rate(v)
		}
		if l := v.SpawnLatency; l != nil {
			p50, p99 = Seconds(l.P50), Seconds(l.P99)
		}
		t.Rows = append(t.Rows, []string{
			printable(v.Name), formatState(&v, s.Taken),
			fmt.Sprintf("%d/%d", v.Live, v.Limit), formatSpares(v.Spares),
			formatCount(v.Accepted), now, formatCount(v.Refused), formatCount(v.Failed),
			formatQueue(v.Listeners), formatBox(v.Box), p50, p99,
			printable(v.Handler), formatListeners(v.Listeners),
		})
	}
	return t
}

// ConnectionTable returns the table of connections, in the given order. cpu may be nil.
// It formats the CPU column; without it, the column has the worker's total CPU time.
func ConnectionTable(connections []control.Connection, cpu func(control.Connection) string) Table {
	t := Table{Columns: []Column{
		{Head: "CONN"},
		{Head: "PID", Right: true},
		{Head: "SERVICE", Min: 6, Drop: 3},
		{Head: "PEER", Min: 15},
		{Head: "AGE", Right: true},
		{Head: "STATE", Drop: 6},
		{Head: "CPU", Right: true},
		{Head: "RSS", Right: true, Drop: 2},
		{Head: "IN", Right: true, Drop: 5},
		{Head: "OUT", Right: true, Drop: 5},
		{Head: "VIA", Min: 15, Drop: 7},
		{Head: "VERSION", Min: 7, Drop: 4},
	}}
	if cpu == nil {
		cpu = func(c control.Connection) string { return optional(c.CPU, Seconds) }
	}
	for _, c := range connections {
		t.Rows = append(t.Rows, []string{
			printable(c.ID), strconv.Itoa(c.PID), printable(c.Service), printable(c.Peer),
			Seconds(c.Age), printable(c.State), cpu(c),
			optional(c.RSS, human.Size), optional(c.BytesIn, human.Size), optional(c.BytesOut, human.Size),
			printable(c.Via), printable(c.Version),
		})
	}
	return t
}

// Seconds formats a number of seconds. A number outside the range of time.Duration,
// which no clock reaches, is limited to that range.
func Seconds(s float64) string {
	const most = float64(math.MaxInt64 / int64(time.Second))
	return human.Duration(time.Duration(max(-most, min(s, most)) * float64(time.Second)))
}

func formatCount(n uint64) string { return strconv.FormatUint(n, 10) }

// optional formats a value that may be unknown.
func optional[T any](value *T, write func(T) string) string {
	if value == nil {
		return ""
	}
	return write(*value)
}

// formatState formats the state of a service, and for how long it has been full.
func formatState(v *control.Service, now time.Time) string {
	if v.FullSince == nil {
		return printable(v.State)
	}
	full := "full " + Seconds(max(now.Sub(*v.FullSince), 0).Seconds())
	if v.State != "serving" {
		full = printable(v.State) + ", " + full
	}
	return full
}

func formatSpares(s *control.Spares) string {
	switch {
	case s == nil:
		return ""
	case s.Starting > 0:
		return fmt.Sprintf("%d+%d/%d", s.Ready, s.Starting, s.Max)
	}
	return fmt.Sprintf("%d/%d", s.Ready, s.Max)
}

// formatQueue formats the sum of the known queues of the listeners.
func formatQueue(listeners []control.Listener) string {
	waiting, backlog, known := 0, 0, false
	for _, l := range listeners {
		if l.Queue == nil || l.Backlog == nil {
			continue
		}
		waiting, backlog, known = waiting+*l.Queue, backlog+*l.Backlog, true
	}
	if !known {
		return ""
	}
	return fmt.Sprintf("%d/%d", waiting, backlog)
}

// formatBox formats a box by its preset, and a "-" and the number of its optional
// keys that are missing. A "*" says that keys differ from the preset's.
func formatBox(b *control.Box) string {
	if b == nil {
		return ""
	}
	preset, _, differs := strings.Cut(b.Summary, ",")
	text := printable(preset)
	if differs {
		text += "*"
	}
	if n := len(b.Missing); n > 0 {
		text += fmt.Sprintf("-%d", n)
	}
	return text
}

func formatListeners(listeners []control.Listener) string {
	var addresses []string
	for _, l := range listeners {
		addresses = append(addresses, printable(l.Local))
	}
	return strings.Join(addresses, ", ")
}

// formatCounts formats counts by name, the largest first.
func formatCounts(counts map[string]uint64) string {
	var names []string
	for name, n := range counts {
		if n > 0 {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		switch {
		case counts[a] > counts[b]:
			return -1
		case counts[a] < counts[b]:
			return 1
		}
		return strings.Compare(a, b)
	})
	for i, name := range names {
		names[i] = fmt.Sprintf("%d %s", counts[name], printable(name))
	}
	return strings.Join(names, ", ")
}
