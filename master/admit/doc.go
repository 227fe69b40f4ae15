// Package admit decides whether a connection may have a slot, and counts who
// holds how many slots.
//
// A Gate owns the slots of one service and makes its decisions. Rules say who
// may connect at all. What a Gate remembers of sources is limited, however many
// sources there are. Refusals limits the log lines when many connections are
// refused.
//
// The package is pure. It makes no system call, starts no goroutine, and reads
// no clock and no random numbers: the caller passes both. The caller must
// release each slot exactly once, and never before the worker of the slot was
// reaped. The limits protect the system from too many processes.
package admit
