// Package grafana holds a dashboard for the metrics of preforkd, preforkd.json.
// Its test holds the queries to the metrics that there are; that of promql holds
// them to the grammar of Prometheus.
package grafana
