// Package dispatch brings a connection to a worker: to a spare of its service,
// or else to a process that is started for it. It keeps the pools of spares
// filled, and tells the master's loop what has been started.
//
// It runs on the goroutines of its callers, and on one goroutine for each pool
// that keeps spares. It owns no connection and no worker: a connection's slot
// and account are the loop's to close, whatever becomes of a start.
package dispatch
