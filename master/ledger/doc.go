// Package ledger keeps the accounts of a service: how many connections came,
// what became of them, how long it took, and what the workers used. It owns
// numbers only. It never decides about a connection, and it knows no process.
//
// A service has one Ledger for as long as its name exists, whatever a reload
// makes of its configuration. At any moment
//
//	accepted = refused + failed + completed + live
//
// where refused is the count of the service's gate (package admit).
package ledger
