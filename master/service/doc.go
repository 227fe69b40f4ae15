// Package service holds what a service is: its configuration, compiled for use,
// and the one object per name that outlives it.
//
//   - A Spec is one service of one configuration: resolved addresses,
//     executables, user and group ids, policies, environments. It is immutable.
//     Compile makes it, off the master's loop, because name servers and file
//     systems may keep it waiting.
//   - A Service is what a name keeps across reloads: the gate with its slots,
//     the ledger, whether it is draining, and the Spec in force.
//   - A Connection is one admitted connection: its slot, its peer, its limits,
//     and how its worker is started and told of it.
//
// The package starts no process and no goroutine, and makes no system call
// outside Compile.
package service
