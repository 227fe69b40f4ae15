package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// maxScrapes is how many scrapes are answered at once. Further ones get the
// status 503.
const maxScrapes = 4

// Labels are the values of labels whose sets are closed. A counter has a sample
// for each of them from the first scrape on, because increase() and rate() of
// Prometheus see nothing of an event that makes the sample appear.
type Labels struct {
	Reasons []string // of refusals
	Causes  []string // of failed spawns
}

// Handler returns the handler for scrapes. It answers with the metrics of the
// master, of its process and of the Go runtime.
func Handler(m Master, l Labels) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collector{m, l},
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewGoCollector(),
	)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, Timeout: summaryTimeout})
}
