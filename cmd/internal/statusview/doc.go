// Package statusview formats a status of a master for people. preforkd status prints
// it, and preforkd top draws the same tables live.
//
// The package decides the order of rows, the width of columns, and what is left out on
// a narrow terminal. It never talks to a master: its input is a control.Status. Names
// that a peer chose come out printable. Nothing is expressed by colour alone.
//
// # Order
//
// Services with a problem come first, in the order of the master's list of problems.
// Then come services that do not serve, then the services that use most of their slots.
// Of the connections, the one whose worker has used most CPU comes first, then the
// oldest one. A person who reads a list of thousands looks for a connection that is
// expensive, or that should have ended long ago.
package statusview
