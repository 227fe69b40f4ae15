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

// Handler returns the handler for scrapes. It answers with the metrics of the
// master, of its process and of the Go runtime.
func Handler(m Master) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collector{m},
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewGoCollector(),
	)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, Timeout: summaryTimeout})
}
