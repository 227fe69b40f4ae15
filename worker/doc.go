// Package worker is for writing servers that preforkd runs: one process for
// each connection, so that what goes wrong in one stays in it.
//
// # A first program
//
// A program is a handler and a main of one line:
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
// Build it and have it served:
//
//	go build -o greet .
//	preforkd serve --listen :7007 --handoff worker -- ./greet
//
// The arguments after ./greet are the program's own. The same handler may be
// one of several in a program that is told by its first argument which one to
// be; that is what Main does.
//
// # The connection
//
// A Conn is an io.Reader and io.Writer: bufio, io.Copy, encoding/json and the
// like work on it. Read ends with io.EOF when the client has closed its side,
// or half-closed it and waits for the rest of the answer; CloseWrite half-closes
// this side. The handler just returns when it has nothing more to say. It does
// not close the connection, and it need not flush or linger: the client gets
// all that was written for it even if it is still sending.
//
// ID, Service, Peer, Local and Settings say which connection this is, and whose.
// SetReason and Report put into the master's log event why it ended and what
// there is to know about it:
//
//	c.Report("user", name)
//
// # How it ends
//
// What the handler returns becomes the exit code and the reason in the log; see
// Handler. An error of the handler's own goes to stderr, which is the master's.
// So does a panic, with its stack; the client of a handler that panics still
// gets what was written for it. Whatever else the handler prints goes to stderr
// as well, standard output included, and never to the client.
//
// When the service has an idle-timeout or a max-lifetime, Read and Write fail
// with ErrIdle or ErrLifetime. A handler has nothing to do for that. Deadlines
// of its own are as in package net:
//
//	c.SetReadDeadline(time.Now().Add(10 * time.Second))
//
// When the service stops, handlers are given time. One that does not care
// finishes its connection. One whose connections last asks for the context and
// comes to an end when that does:
//
//	ctx := c.Context()
//	stop := context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Now()) })
//	defer stop()
//
// When the master dies, nothing changes for the connection: it is served to its
// end, with a context that does not end, and then the worker exits.
//
// # net.Conn, HTTP, TLS
//
// Package worker/netconn makes a net.Conn or a net.Listener of the connection.
// It is apart because a program that links net takes twice as long to start.
//
// # One process, one connection
//
// A worker serves one connection and exits, and what it leaves behind (memory,
// descriptors, global variables, goroutines) goes with it. With spares the
// process is started ahead of its connection; nothing changes for the handler,
// but main and the packages' initialisation run early. What runs for the first
// time takes twice as long; main may have it run before, with Rehearse. With
// connections-per-worker the same process serves several connections, one after
// the other. Then a handler must leave nothing behind, and what a stranger did
// to the process, he did to those who come after him. A panic ends the process
// in any case.
//
// # By hand
//
// For debugging, a worker needs no master. It serves its standard input when
// that is a socket, so any server of the kind of inetd can run it:
//
//	socat TCP-LISTEN:7007,reuseaddr,fork EXEC:./greet
//	preforkd serve --listen :7007 --handoff stdio -- ./greet
//
// With PREFORKD_STDIN=1 it also serves terminals and pipes, and says at the end
// how it went:
//
//	echo hello | PREFORKD_STDIN=1 ./greet
//	mkfifo f; nc -l 7007 < f | PREFORKD_STDIN=1 ./greet > f
//
// Neither happens to a worker that has a control channel. Under a master, too,
// there are ways to look closer: preforkd serve --once serves one connection
// and exits with the worker's code, and --wrap 'strace -f' starts each worker
// under a tool.
//
// Tests of a handler make a Conn of one end of a socket pair with NewConn, and
// need no process at all.
//
// # What it costs
//
// Every connection pays for starting the program. The package links nothing
// whose initialisation would be felt, starts no goroutine unless a handler asks
// for a context or the service limits the lifetime, and waits in plain system
// calls. What a program adds is its own affair; a handler that imports net
// doubles it. Two lines in the file of main, above its package clause, keep the
// runtime from reading the mount table at every start and from holding the
// files of its cgroup's CPU quota open beside the connection:
//
//	//go:debug containermaxprocs=0
//	//go:debug updatemaxprocs=0
//
// # What it owns
//
// The package owns the connection and the control channel from the first
// instruction to the last: it checks both, reads the assignment, runs the
// handler, ends the connection, reports and exits. It never starts a process
// and never imports the master. See package ipc for the contract itself.
package worker
