// Package carry has what the rooms of the master need to say what they know to the
// program that takes over: the new version of the master, which the same process
// executes (package upgrade).
//
// A room has a plain struct that holds its state, in JSON, with a method Export that
// makes one and a function or method Restore that takes one. Descriptors go over by
// their numbers, because a process keeps its descriptors when it executes a program.
// Moments go over as readings of the monotonic clock, which no change of the date
// touches.
//
// # Export
//
// An Export comes when nothing happens any more: nobody accepts, spawns or reads. It
// changes nothing that cannot be undone, because the program that takes over may turn
// out to be unable to.
//
// # Restore
//
// Until the new program has proved itself, the old one may be executed again with the
// same state. So a Restore, and whatever runs until then, neither closes a descriptor
// that was carried, nor reads from it, writes to it or changes its open file. It may be
// given anything: a state that makes no sense is an error, and no panic.
package carry
