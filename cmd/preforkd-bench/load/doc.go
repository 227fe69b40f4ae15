// Package load is the load generator. It speaks to one address on the loopback
// and knows nothing of what answers there.
//
// One thread drives everything: raw non-blocking sockets and one epoll set. On
// a machine with two cores the generator shares the CPUs with what it
// measures, so it does as little as it can: no goroutine and no allocation per
// connection, and the garbage collector waits until the load is over.
//
// What counts. A connection counts when every byte of its message came back
// and was the right one. Everything else is an error, counted by kind and never
// retried: refused, reset, closed early, wrong bytes, timed out. Latency
// runs to the last byte of the echo: in the closed loop from the call of
// connect, in the open loop from the moment the connection was due, so that a
// server that stalls the generator does not hide the waiting it caused
// (coordinated omission).
//
// Connections that are meant to be refused are the other way round: one counts
// when the server has closed it without a byte (refused.go).
//
// The client closes first, as real clients do, and the kernel keeps each
// connection for a minute in TIME_WAIT. Ports would run out on one address, so
// connections start from many addresses of 127.0.0.0/8 in turn; each
// combination of addresses has its own ports. Ending with a reset (SO_LINGER 0)
// would spare that, but the server would see an error instead of an end of
// file, and that is another thing to measure. The generator uses a reset only to
// get rid of connections that have failed.
//
// Every load is bounded in count and in time and stops by itself, also when
// its context is cancelled.
package load
