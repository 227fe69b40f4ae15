// Package accept takes connections from listeners, and admits or refuses them.
//
// An Acceptor owns the goroutines that accept (a crew, however many listeners there are),
// what keeps a listener from being accepted from for a time (an intake for each), and the
// connections whose PROXY header has not come yet. A refused connection is closed by
// package linger if it was sent a message. An admitted connection goes to the Dispatcher,
// on the goroutine that accepted it. The package touches nothing that the master's loop
// owns.
package accept
