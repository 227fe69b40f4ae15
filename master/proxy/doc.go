// Package proxy reads the PROXY protocol header that a load balancer puts in
// front of a connection, versions 1 and 2
// (https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt).
//
// It takes from the socket exactly the header and not a byte more, because what
// follows is for the handler, which another process will read. It does not
// decide whom to believe.
package proxy
