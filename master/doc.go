// Package master is the one long-lived process of preforkd: it binds, accepts,
// spawns, reaps and accounts. New binds, Run serves.
//
// # The walk of a connection
//
// Seven rooms, in this order:
//
//  1. accept      takes a slot and the connection (accept4), and learns who it is
//  2. admit       decides: admitted, refused, or wait for a slot
//  3. service     makes a service.Connection of it: its limits, its environment
//  4. dispatch    finds a spare for it, or decides to start a process
//  5. workers     hands it to the spare; or process starts a worker that inherits it
//  6. master      the loop registers the worker, and reaps it at its end
//  7. ledger      closes the account; the slot is free and the log has one event
//
// From the accept to the hand-over the connection makes these stops, on the
// goroutine that has accepted it. The rooms below answer what a room asks (listen
// and admit answer accept), and a connection that a room has passed on does not
// come back to it. At the end dispatch tells the loop.
//
//	 1  accept/acceptor.go      next           waits for all listeners; a slot (admit/gate.go Reserve)
//	 2  listen/accept.go        Accept         accept4
//	 3  accept/admission.go     serve          counts it; does it come from a proxy?
//	 4  admit/gate.go           Admit          the decision
//	 5  accept/admission.go     admit          does what was decided
//	 6  service/connection.go   NewConnection  its limits and its names
//	 7  dispatch/dispatcher.go  Dispatch       to a spare, or to a new process
//	 8  workers/handover.go     Assign         the spare has it; or
//	    workers/worker.go       Start          the command and the environment
//	 9  process/spawn.go        Start          vfork and exec: the worker has it
//	10  dispatch/outcomes.go    add            the loop is told
//
// A refusal ends the walk at 5, in accept/refuse.go. A connection from a proxy
// waits between 3 and 4, in accept/proxyheader.go.
//
// # The rooms
//
// Each package has one central type that owns its state, and imports only what
// stands below it (layout_test.go holds them to that).
//
//	master       Master: the loop, phases, reload, what the control socket asks for
//	accept       Acceptor: accept, admit or refuse
//	admin        Servers: how operators reach the master
//	status       View: what operators see
//	dispatch     Dispatcher: a spare or a new process; keeps the pools filled
//	workers      Set, Worker, Pool: processes that are not reaped yet
//	endpoints    Set: listening sockets, bound, passed or stored
//	reloading    Queue: the reload under way, the one after it, who waits for them
//	learning     Set: services whose workers are observed
//	upgrade      State, Takeover: another program takes over in the process
//	carry        Descriptors, Moment: what a state of a room is made of
//	service      Spec, Service, Connection: what a service is
//	ledger       Ledger: counts, latencies, usage
//	redact       Policy: what is told of peers
//	admit listen proxy process signals systemd control config logging metrics ...
//
// Calls go up only through interfaces that the lower room declares: workers.Sink,
// control.Backend and metrics.Master, which Master implements (lifecycle.go; api.go,
// reload.go, resume.go, learn.go and upgrade.go), listen.Slots (accept) and
// workers.Starter (dispatch).
//
// # The loop
//
// One goroutine, the loop in loop.go, owns everything that a child's life
// changes. Accept goroutines, a few for all listeners (accept/crew.go), start workers and
// tell the loop. SIGCHLD wakes the loop, which reaps. Signals, timers and
// questions of the control socket reach it the same way, so that every order of
// events is an order of one goroutine's steps.
//
// # Rules
//
//   - A room owns data, not verbs: a method is where the state is that it changes.
//   - What may wait is done off the loop (compile); the loop commits.
//   - There is one object for a service's name, and one immutable Spec for each
//     configuration of it.
//   - A lock guards fields of its own struct.
//   - A question has no effects.
//
// A reload compiles the configuration off the loop, where name servers and file
// systems may keep it waiting. The loop then binds and swaps (services.go). One that
// does not come to an end is given up for the next one (package reloading).
//
// There may be ten thousand services, of which a reload changes one. What says what
// it said before is neither decoded (config/again.go) nor compiled (compile.go) again,
// and the loop only sees that it stays. If the file is wrong, all of it is read, so
// that the mistakes and their places are the same.
//
// # Upgrades
//
// For an upgrade everything stands still (upgrade.go), each room says what it knows
// (Export, in its file carry.go), and the program that takes over makes the rooms from
// that (takeover.go) and not from nothing (startup.go). Package upgrade has the steps and
// the way back.
package master
