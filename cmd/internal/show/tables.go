package show

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

// Services returns the table of the services, those first that matter most:
//
//	LIVE    connections, of as many as there are slots
//	SPARES  ready ones, "+" those that are starting, of as many as there may be
//	QUEUE   connections that wait in the kernel, of as many as may
//	SPAWN   how long a worker took to start: the median, and 99 of 100
//
// rate, which may be nil, writes how many connections a service accepts now.
func Services(s control.Status, rate func(control.Service) string) Table {
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
		{Head: "SPAWN P50", Right: true, Drop: 4},
		{Head: "SPAWN P99", Right: true, Drop: 3},
		{Head: "HANDLER", Min: 12, Drop: 6},
		{Head: "LISTENERS", Min: 21, Drop: 5},
	}}
	for _, v := range servicesByTrouble(s) {
		p50, p99, now := "", "", ""
		if rate != nil {
			now = rate(v)
		}
		if l := v.SpawnLatency; l != nil {
			p50, p99 = Seconds(l.P50), Seconds(l.P99)
		}
		t.Rows = append(t.Rows, []string{
			clean(v.Name), clean(v.State),
			fmt.Sprintf("%d/%d", v.Live, v.Limit), spares(v.Spares),
			count(v.Accepted), now, count(v.Refused), count(v.Failed),
			queue(v.Listeners), p50, p99,
			clean(v.Handler), listeners(v.Listeners),
		})
	}
	return t
}

// Connections returns the table of connections, in the order in which they are
// given. cpu, which may be nil, writes the cell of the CPU in place of the time
// that the worker has used so far.
func Connections(connections []control.Connection, cpu func(control.Connection) string) Table {
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
	}}
	if cpu == nil {
		cpu = func(c control.Connection) string { return optional(c.CPU, Seconds) }
	}
	for _, c := range connections {
		t.Rows = append(t.Rows, []string{
			clean(c.ID), strconv.Itoa(c.PID), clean(c.Service), clean(c.Peer),
			Seconds(c.Age), clean(c.State), cpu(c),
			optional(c.RSS, human.Size), optional(c.BytesIn, human.Size), optional(c.BytesOut, human.Size),
			clean(c.Via),
		})
	}
	return t
}

// Seconds writes a number of seconds. Beyond what a time.Duration holds, which
// no clock reaches, it is cut.
func Seconds(s float64) string {
	const most = float64(math.MaxInt64 / int64(time.Second))
	return human.Duration(time.Duration(max(-most, min(s, most)) * float64(time.Second)))
}

func count(n uint64) string { return strconv.FormatUint(n, 10) }

// optional writes a value that may not be known.
func optional[T any](value *T, write func(T) string) string {
	if value == nil {
		return ""
	}
	return write(*value)
}

func spares(s *control.Spares) string {
	switch {
	case s == nil:
		return ""
	case s.Starting > 0:
		return fmt.Sprintf("%d+%d/%d", s.Ready, s.Starting, s.Max)
	}
	return fmt.Sprintf("%d/%d", s.Ready, s.Max)
}

// queue adds up the queues of the listeners of which they are known.
func queue(listeners []control.Listener) string {
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

func listeners(listeners []control.Listener) string {
	var addresses []string
	for _, l := range listeners {
		addresses = append(addresses, clean(l.Local))
	}
	return strings.Join(addresses, ", ")
}

// byNumber writes how often there was what, the most frequent first.
func byNumber(counts map[string]uint64) string {
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
		names[i] = fmt.Sprintf("%d %s", counts[name], clean(name))
	}
	return strings.Join(names, ", ")
}
