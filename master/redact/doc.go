// Package redact decides how much of a peer the log and a status tell, as the
// configuration key log-peer says. It owns that choice. Whatever names a peer
// in the log or in a status comes from here; workers are told everything,
// because they have to know to whom they speak.
package redact
