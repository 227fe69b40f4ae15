// Package worker is for writing servers that preforkd runs with one process for each
// connection. A fault in one connection stays in its process.
//
// # A first program
//
// A program consists of a handler and a main function of one line:
//
//	package main
//
//	import "github.com/preforkd/preforkd/worker"
//
//	func main() { worker.Serve(greet) }
//
//	func greet(c *worker.Conn) error {
//		_, err := c.Write([]byte("hello, " + c.Peer() + "\n"))
//		return err
//	}
//
// Build it and serve it:
//
//	go build -o greet .
//	preforkd serve --listen :7007 --handoff worker -- ./greet
//
// The arguments after ./greet belong to the program. A program may also have several
// handlers, and its first argument names the handler to use. Main is for such programs.
//
// # The connection
//
// A Conn is an io.Reader and io.Writer, so bufio, io.Copy, encoding/json and similar
// packages work with it. Read returns io.EOF when the client has closed or half-closed
// its side. A client that half-closed still waits for the rest of the answer.
// CloseWrite half-closes the worker's side. A handler that has finished simply returns.
// It does not close the connection and need not flush or linger. The client gets every
// byte that was written for it, even if it is still sending.
//
// ID, Service, Peer, Local and Settings describe the connection. SetReason and Report
// add to the master's log event why the connection ended and other facts:
//
//	c.Report("user", name)
//
// # How it ends
//
// The result of the handler decides the exit code and the reason in the log; see
// Handler. A handler's own error is written to stderr, which is the master's stderr. A
// panic is written there too, with its stack. The client of a handler that panics still
// gets the bytes that were written for it. Everything else that the handler prints,
// even to standard output, goes to stderr and never to the client.
//
// When the service has an idle-timeout or a max-lifetime, Read and Write fail with
// ErrIdle or ErrLifetime. The handler needs no code for that. A handler's own deadlines
// work as in package net:
//
//	c.SetReadDeadline(time.Now().Add(10 * time.Second))
//
// When the service stops, handlers get time to finish. A handler that does nothing
// about it finishes its connection. A handler with long connections asks for the
// context and finishes when the context ends:
//
//	ctx := c.Context()
//	stop := context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Now()) })
//	defer stop()
//
// When the master dies, nothing changes for the connection. The worker serves it to its
// end, the context does not end, and then the worker exits.
//
// # net.Conn, HTTP, TLS
//
// Package worker/netconn makes a net.Conn or a net.Listener from the connection. It is
// a separate package, because a program that links net takes twice as long to start.
//
// # One process, one connection
//
// A worker serves one connection and exits. Everything that the handler leaves behind
// ends with the process: memory, descriptors, global variables, goroutines. With spares
// the process starts ahead of its connection. Nothing changes for the handler, but main
// and the initialisation of packages run early. Code that runs for the first time takes
// twice as long; main may run the handler once in advance with WarmUp.
//
// With connections-per-worker the same process serves several connections, one after
// the other. The handler must then leave nothing behind. A client who takes over the
// process can harm the connections that follow. A panic always ends the process.
//
// # By hand
//
// For debugging, a worker needs no master. It serves its standard input when that is a
// socket, so any server that works like inetd can run it:
//
//	socat TCP-LISTEN:7007,reuseaddr,fork EXEC:./greet
//	preforkd serve --listen :7007 --handoff stdio -- ./greet
//
// With PREFORKD_STDIN=1 it also serves terminals and pipes, and prints a summary at the
// end:
//
//	echo hello | PREFORKD_STDIN=1 ./greet
//	mkfifo f; nc -l 7007 < f | PREFORKD_STDIN=1 ./greet > f
//
// A worker that has a control channel does neither. A master helps with debugging too.
// preforkd serve --once serves one connection and exits with the worker's code. The
// flag --wrap 'strace -f' starts each worker under a tool.
//
// Tests of a handler call NewConn with one end of a socket pair and need no process.
//
// # What it costs
//
// Every connection pays for the start of the program. The package links nothing with a
// noticeable initialisation and waits in plain system calls. It starts no goroutine
// unless a handler asks for a context or the service limits the lifetime. The program's
// own imports cost more: a handler that imports net doubles the start time. Two lines
// in the file of main, above its package clause, help. With them the runtime does not
// read the mount table at every start. It also does not keep the files of its cgroup's
// CPU quota open beside the connection:
//
//	//go:debug containermaxprocs=0
//	//go:debug updatemaxprocs=0
//
// One processor is enough for a handler that waits for one client. worker-processors = 1
// of the service gives it as many, and the runtime starts and waits for less. A handler
// that starts no process, and does not mind timers that are a fifth of a millisecond late,
// waits for less still with timer-slack = "200us".
//
// # What it owns
//
// The package owns the connection and the control channel for the whole life of the
// process. It checks both, reads the assignment, runs the handler, ends the connection,
// reports and exits. It never starts a process and never imports the master. Package
// ipc describes the contract itself.
package worker
