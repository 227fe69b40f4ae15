package master

import (
	"time"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/attic"
	"github.com/preforkd/preforkd/master/process"
)

// A worker is a process that the master started and has not reaped yet. It is
// tracked because:
//
//  1. its slot, and its source's count, are held until it is reaped;
//  2. its process group may be signalled only while its pid cannot have passed
//     to another process, which is until it is reaped;
//  3. what it reported lies in its control channel until it is reaped;
//  4. the one log event of its connection needs to say whose it was;
//  5. as a spare it may be given a connection, and if it dies before it has
//     taken it, the connection goes to another.
//
// The loop owns a worker, but for what the pool's lock guards: accept
// goroutines give connections to spares.
type worker struct {
	service *service
	child   *process.Child

	// watched says that the loop hears of the worker's messages as they come.
	// Those of the others are read when they are reaped.
	watched bool
	report  *ipc.Report  // what it said of its connection, if it has said it
	breach  error        // how it broke the contract, or nil
	stderr  *stderrLog   // of a worker whose stderr leads to the log, or nil
	attic   *attic.Attic // where its control channel is, or nil: among the master's descriptors

	signalled bool      // somebody had it signalled for its connection
	warned    time.Time // when it had SIGTERM for a connection that should have ended
	nextLook  time.Time // when to ask again whether the connection is idle

	// The pool's lock guards all that follows.

	state  state
	since  time.Time   // of the state
	conn   *connection // what it serves or is to serve, or nil
	served int         // connections that it was given

	leaving bool // the pool counts it as such
}

// A state is where a worker stands in the dialogue of package ipc.
type state uint8

const (
	starting state = iota // a spare that is not ready yet
	idle                  // a spare that waits in the pool
	assigned              // a connection is on its way to it
	serving               // it has the connection
	retiring              // it has been told to go
	broken                // it broke the contract, or its channel is closed: it is being ended
)

func (s state) String() string {
	return [...]string{"starting", "idle", "assigned", "serving", "retiring", "broken"}[s]
}

// reusable reports whether the connection that the worker has is not its last.
// The pool's lock is held, or the worker serves and nobody else touches it.
func (w *worker) reusable() bool {
	return w.served < w.service.ConnectionsPerWorker && (w.conn == nil || !w.conn.needsItsOwn())
}

// stateNow returns the state for a caller who does not hold the pool's lock.
func (w *worker) stateNow() state {
	w.service.pool.mu.Lock()
	defer w.service.pool.mu.Unlock()
	return w.state
}

// enter changes the state. The pool's lock is held.
func (w *worker) enter(s state, now time.Time) { w.state, w.since = s, now }
