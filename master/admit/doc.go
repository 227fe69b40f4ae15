// Package admit decides whether a connection may have a slot, and counts who
// holds how many.
//
// It is pure: it makes no system call, starts no goroutine, reads no clock and
// rolls no dice; the time and the dice are given to it. A slot is given back
// when its worker has been reaped and never earlier, because what the limits
// protect is processes; the package trusts its caller to do that exactly once
// for each slot.
//
// A Gate makes the decisions of one service. Rules say who may connect at all,
// the state of sources is bounded however many there are, and Refusals keeps
// the log readable when many are turned away.
package admit
