package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// scrapes is how many are answered at a time; more are told to come later.
const scrapes = 4

// Handler returns what answers a scrape: the master's metrics, and those of its
// process and of the Go runtime.
func Handler(m Master) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collector{m},
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewGoCollector(),
	)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: scrapes, Timeout: lookWithin})
}
