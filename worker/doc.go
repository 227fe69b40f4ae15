// Package worker is the side of the contract that serves. A program built on
// it is started by the master with a connected client on one descriptor and
// the control channel on another; the package checks both, reads which
// connection it is, runs one Handler on it, reports to the master and exits
// with a code that the master understands (see ipc for all of these).
//
// A whole worker is a few lines:
//
//	func main() {
//		worker.Main(worker.Handlers{"shout": shout})
//	}
//
//	func shout(c *worker.Conn) error {
//		_, err := c.Write([]byte("HELLO " + c.Peer() + "\n"))
//		return err
//	}
//
// Two more lines in the file of main, above its package clause, keep the
// runtime from reading the mount table at every start and from holding the
// files of its cgroup's CPU quota open beside the connection:
//
//	//go:debug containermaxprocs=0
//	//go:debug updatemaxprocs=0
//
// The package owns the two descriptors from the first instruction to the last,
// and the end of the connection: whatever a handler leaves undone, the client
// gets all bytes that were written for it before the connection is closed.
//
// It never starts a goroutine, a thread or a process, never imports the
// master, and links nothing whose initialisation would be felt, because every
// connection pays for it.
package worker
