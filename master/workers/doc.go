// Package workers holds the processes that the master has started and not
// reaped yet.
//
//   - A Worker is one process: its state in the dialogue of package ipc, the
//     connection that it has, its control channel, its stderr.
//   - A Set is all of them, by pid: it registers, reads their messages, reaps.
//   - A Pool is the spares of one service.Spec.
//
// The master's loop owns a Set. Pools, and the part of a Worker that a hand-over
// changes, are shared with the goroutines that give connections to spares.
//
// The package does not decide what an exit or a message means for a connection,
// its slot and the log: it tells its Sink. It starts no worker by itself.
package workers
