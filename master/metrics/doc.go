// Package metrics tells Prometheus how a master is: it turns what a look at the
// master finds into metrics, and serves them.
//
// It keeps no counts of its own, so that the metrics, `preforkd status` and the
// log always tell the same; and it names no peer, so that there are as many
// series as the configuration has services and listeners.
package metrics
