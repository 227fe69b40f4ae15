// Package metrics serves the state of a master to Prometheus. It converts a
// status of the master into metrics.
//
// It owns the metrics server and the names of the metrics. It never counts
// anything itself, so the metrics, `preforkd status` and the log always agree.
// It never names a peer, so the number of series depends only on the services
// and listeners of the configuration.
package metrics
