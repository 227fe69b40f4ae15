// Package hangup finds out whose clients have gone, among connections that are
// in the hands of workers.
//
// A client has gone when its connection is over for the kernel: it was reset, or
// it timed out. Nobody is told of that but a process that reads or writes. A
// client that has only ended its own side (half-closed) has not gone: it may
// still read. A client that has closed its connection cannot be told from it
// until something is sent to it. Then its kernel answers with a reset, and so do
// keepalive probes end such a connection.
//
// The package owns the two questions to the kernel and nothing between them. It
// decides nothing, and never changes a connection. One question lists the TCP
// connections that are alive (package sockdiag), for any number of connections.
// The second copies the descriptors of a process for a moment (pidfd_getfd(2)).
// It is asked for those that are missing in the list, and for unix sockets.
package hangup
