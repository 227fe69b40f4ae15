// Package proxy reads the PROXY protocol header, version 1 or 2, that a load
// balancer sends at the start of a connection
// (https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt).
//
// It owns the wait for the header and takes exactly the header from the socket.
// The bytes after the header are for the handler, which another process reads.
// A Budget bounds the memory of all headers that are incomplete.
// The package never decides which peers may send a header.
package proxy
