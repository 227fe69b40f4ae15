// Package master is the one long-lived process: it binds, accepts, spawns,
// reaps and accounts.
//
// One goroutine, the loop in run.go, owns the worker table and everything that
// a worker's life changes. Accept goroutines, two or more to a listener, take a
// slot, accept, and spawn; they tell the loop what came of it. SIGCHLD wakes
// the loop, which reaps. Signals and timers reach it the same way, so that
// every order of events is an order of one goroutine's steps.
//
// A service is made from its configuration and does not change: a reload makes
// another one of it, and hands the listeners over (reload.go). What outlives
// that, slots, sources and counts, is kept by the service's name (books.go).
//
// What others want to know of the master or have it do, over the control
// socket, they ask of the loop, which does it between two events (ask.go). To
// look is to have the loop copy what it knows (snapshot.go).
//
// The package decides and accounts; the system calls are in its
// subpackages: config (what is asked for), listen (sockets), admit (may this
// peer have a slot), proxy (who is behind a load balancer), process (spawn,
// reap, signal), attic (descriptors that no spawn copies), control (who looks
// and acts from outside).
package master
