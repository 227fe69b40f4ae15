// Package admit decides whether a connection may have a slot, and counts who
// holds how many.
//
// It is pure: it makes no system call, starts no goroutine and reads no clock.
// A slot is given back when its worker has been reaped and never earlier,
// because what the limits protect is processes; the package trusts its caller
// to do that exactly once for each slot.
package admit
