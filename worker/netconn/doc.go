// Package netconn makes a net.Conn or a net.Listener from the connection of a worker.
// net/http, crypto/tls, net/textproto and many other libraries need one of these.
//
// Netconn is a separate package because linking net doubles the cost of a worker's
// start. net/http costs still more. An HTTP request that does some work costs far more
// than that. Spares and connections-per-worker hide the start from the client where it
// matters.
//
// An HTTP server with one process per connection is
//
//	func main() { worker.Serve(serve) }
//
//	func serve(c *worker.Conn) error {
//		return netconn.Serve(c, &http.Server{Handler: http.HandlerFunc(hello)})
//	}
//
// and this command runs it:
//
//	preforkd serve --listen :8080 --handoff worker -- ./hello
//
// TLS needs one more line: pass New(c) to tls.Server, or NewListener(c) to
// tls.NewListener.
//
// Limits, byte counts, reasons and exit codes are the same as with the methods of
// worker.Conn. Do not use those methods together with the ones of this package.
package netconn
