// Package admin is the doors through which operators reach a running master: the
// control socket (package control) and the address of the metrics (package metrics).
//
// Servers owns what is open. A Plan says what a configuration wants, and is made off
// the master's loop, because name servers may keep it waiting. The loop then opens what
// is new before anything of the present is closed, so that a reload that fails changes
// nothing.
//
// The package answers no question itself, which is the task of the master, and decides
// about no client, which is that of packages control and metrics.
package admin
