package metrics

import (
	"context"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/preforkd/preforkd/master/control"
)

// A Master tells its state. Several goroutines may ask it at any time.
type Master interface {
	// Summary returns the status without the list of connections.
	Summary(context.Context) (control.Status, error)
}

// A collector makes metrics of a master's summary. It implements
// prometheus.Collector.
type collector struct {
	master Master
	labels Labels
}

// summaryTimeout is how long the master may take. It is shorter than the time
// that Prometheus waits.
const summaryTimeout = 8 * time.Second

func (c collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range descriptions {
		to <- d
	}
}

func (c collector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), summaryTimeout)
	defer cancel()
	status, err := c.master.Summary(ctx)
	if err != nil {
		to <- prometheus.NewInvalidMetric(buildInfo, err)
		return
	}
	s := sink(to)
	s.master(&status.Master)
	for i := range status.Services {
		s.service(&status.Services[i], &c.labels)
	}
}

// A sink receives metrics.
type sink chan<- prometheus.Metric

func (s sink) gauge(d *prometheus.Desc, value float64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func (s sink) counter(d *prometheus.Desc, value float64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, value, labels...)
}

func (s sink) histogram(d *prometheus.Desc, h control.Histogram, bounds []float64, labels ...string) {
	buckets := make(map[float64]uint64, len(bounds))
	for i, bound := range bounds {
		n := uint64(0)
		if i < len(h.Buckets) {
			n = h.Buckets[i]
		}
		buckets[bound] = n
	}
	s <- prometheus.MustNewConstHistogram(d, h.Count, h.Sum, buckets, labels...)
}

func (s sink) master(m *control.Master) {
	s.gauge(buildInfo, 1, m.Version, runtime.Version())
	s.gauge(started, float64(m.Started.UnixMilli())/1e3)
	s.counter(upgrades, float64(m.Upgrades.Count))
	s.counter(upgradesFailed, float64(m.Upgrades.Failed))
	s.gauge(generation, float64(m.Generation))
	stopping := 0.0
	if m.State != "serving" {
		stopping = 1
	}
	s.gauge(draining, stopping)
	s.gauge(problems, float64(len(m.Problems)))
}

// counts sends a counter for each value of a label, 0 for those that have not
// occurred.
func (s sink) counts(d *prometheus.Desc, service string, labels []string, occurred map[string]uint64) {
	for _, label := range labels {
		s.counter(d, float64(occurred[label]), service, label)
	}
}

func (s sink) service(v *control.Service, labels *Labels) {
	s.counter(accepted, float64(v.Accepted), v.Name)
	s.counter(reaped, float64(v.Reaped), v.Name)
	s.counts(refused, v.Name, labels.Reasons, v.RefusedByReason)
	s.counts(failed, v.Name, labels.Causes, v.FailedByCause)
	s.gauge(live, float64(v.Live), v.Name)
	s.gauge(slots, float64(v.Limit), v.Name)
	s.gauge(slotsTaken, float64(v.Slots), v.Name)
	isFull := 0.0
	if v.FullSince != nil {
		isFull = 1
	}
	s.gauge(full, isFull, v.Name)
	s.counter(fullTime, v.FullSeconds, v.Name)
	s.gauge(penalized, float64(v.Penalized), v.Name)
	if v.Spares != nil {
		s.gauge(spares, float64(v.Spares.Ready), v.Name, "ready")
		s.gauge(spares, float64(v.Spares.Starting), v.Name, "starting")
	}
	s.queues(v.Name, v.Listeners)
	s.histogram(spawned, latencies(v.SpawnLatency), control.LatencyBounds, v.Name)
	if v.Spares != nil || v.HandoverLatency != nil {
		s.histogram(handover, latencies(v.HandoverLatency), control.LatencyBounds, v.Name)
	}
	s.work(v.Name, &v.Work)
}

// queues sends the queues of listeners. A label must be UTF-8, and a path need
// not be. Several sockets may share an address (SO_REUSEPORT, socket(7)). So
// queues adds up the sockets with the same label. The same metric twice would
// fail the whole scrape.
func (s sink) queues(service string, listeners []control.Listener) {
	type queueSum struct{ length, limit int }
	queues := map[string]queueSum{}
	for _, l := range listeners {
		if l.Queue != nil && l.Backlog != nil {
			label := strings.ToValidUTF8(l.Local, "\uFFFD")
			r := queues[label]
			queues[label] = queueSum{r.length + *l.Queue, r.limit + *l.Backlog}
		}
	}
	for label, r := range queues {
		s.gauge(queue, float64(r.length), service, label)
		s.gauge(queueLimit, float64(r.limit), service, label)
	}
}

func (s sink) work(service string, w *control.Work) {
	s.histogram(duration, w.Durations, control.DurationBounds, service)
	s.histogram(peak, w.MaxRSS, control.MemoryBounds, service)
	s.counter(bytes, float64(w.BytesIn), service, "in")
	s.counter(bytes, float64(w.BytesOut), service, "out")
	s.counter(leftover, float64(w.Leftovers), service)
	for limit, n := range w.Limits {
		s.counter(boxLimit, float64(n), service, limit)
	}
	s.counter(cpu, w.UserTime, service, "user")
	s.counter(cpu, w.SysTime, service, "system")
	for _, e := range w.Exits {
		code := ""
		if e.Code != nil {
			code = strconv.Itoa(*e.Code)
		}
		s.counter(exits, float64(e.Count), service, code, e.Signal)
	}
}

// latencies returns the histogram of a latency, or an empty one if there is
// none.
func latencies(l *control.Latency) control.Histogram {
	if l == nil {
		return control.Histogram{}
	}
	return l.Histogram
}
