// Package master is the one long-lived process of preforkd: it binds, accepts,
// spawns, reaps and accounts. New binds, Run serves.
//
// # The walk of a connection
//
// Seven rooms, in this order, and none of them twice:
//
//  1. accept      takes a slot and the connection (accept4), and learns who it is
//  2. admit       decides: admitted, refused, or wait for a slot
//  3. service     makes a service.Connection of it: its limits, its environment
//  4. dispatch    finds a spare for it, or decides to start a process
//  5. workers     hands it to the spare; or process starts a worker that inherits it
//  6. master      the loop registers the worker, and reaps it at its end
//  7. ledger      closes the account; the slot is free and the log has one event
//
// Stops 1 to 5 happen on the goroutine that accepted, without another hop. A
// refusal ends the walk at 2, in accept/refuse.go.
//
// # The rooms
//
// Each package has one central type that owns its state, and imports only what
// stands below it (layout_test.go holds them to that).
//
//	master       Master: the loop, phases, reload, what the control socket asks for
//	accept       Acceptor: accept, admit or refuse
//	status       View: what operators see
//	dispatch     Dispatcher: a spare or a new process; keeps the pools filled
//	workers      Set, Worker, Pool: processes that are not reaped yet
//	endpoints    Set: listening sockets, bound, passed or stored
//	service      Spec, Service, Connection: what a service is
//	ledger       Ledger: counts, latencies, usage
//	redact       Policy: what is told of peers
//	admit listen proxy process systemd control config logging metrics ...
//
// Two calls go up, through interfaces of the lower room: accept.Dispatcher, and
// workers.Sink, which Master implements (exits.go, messages.go).
//
// # The loop
//
// One goroutine, the loop in loop.go, owns everything that a child's life
// changes. Accept goroutines, two or more for each listener, start workers and
// tell the loop. SIGCHLD wakes the loop, which reaps. Signals, timers and
// questions of the control socket reach it the same way, so that every order of
// events is an order of one goroutine's steps.
//
// A reload compiles the configuration off the loop, where name servers and file
// systems may keep it waiting. The loop then binds and swaps (services.go).
package master
