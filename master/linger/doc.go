// Package linger closes connections in such a way that what was sent last arrives.
//
// A TCP socket that is closed with unread bytes, or that bytes reach after it was
// closed, answers with a reset. The client's kernel may then discard what it has
// received and not passed on, so the client loses the end of the answer (RFC 1122,
// section 4.2.2.13). The client of a unix socket reads ECONNRESET in place of the
// end. So a connection is ended in steps:
//
//  1. what the client has sent so far is discarded;
//  2. if the client has ended its side, the connection is closed. This is the
//     usual case;
//  3. otherwise the client is sent the end of the stream (shutdown(2)), and the
//     connection lingers: what still comes is discarded, until the client ends
//     its side, or for as long as the bounds allow;
//  4. the connection is closed.
//
// Clients may have come to do harm. So it is bounded how many connections linger,
// for how long, and for how many bytes.
//
// A Closer owns the descriptors that were given to it. One goroutine serves all of
// them. The package does not know whose the connections are, and never waits for a
// client on the caller's goroutine.
package linger
