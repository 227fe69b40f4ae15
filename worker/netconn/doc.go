// Package netconn gives the connection of a worker to code that wants a
// net.Conn or a net.Listener: net/http, crypto/tls, net/textproto and the
// many libraries that speak a protocol over one of these.
//
// It is a package of its own because linking net makes every start of a worker
// cost about twice as much, and net/http more again. That is nothing beside an
// HTTP request that does some work; connections-per-worker and spares take it
// off the path of the client where it matters.
//
// An HTTP server in a process per connection is
//
//	func main() { worker.Serve(serve) }
//
//	func serve(c *worker.Conn) error {
//		return netconn.Serve(c, &http.Server{Handler: http.HandlerFunc(hello)})
//	}
//
// with the command that runs it
//
//	preforkd serve --listen :8080 --handoff worker -- ./hello
//
// and TLS is one line more: New(c) goes into tls.Server, or NewListener(c)
// into tls.NewListener.
//
// Limits, byte counts, reasons and exit codes are the same as with the methods
// of worker.Conn, which must not be used beside those of this package.
package netconn
