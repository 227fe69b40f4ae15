// Package signals keeps what the master is told by signals. They are caught from the
// first moment on and kept until somebody can act on them: a start may take as long as
// file systems and name servers do.
//
// The package knows which signals end the master and no more of what they mean: the
// master's loop acts on them. SIGCHLD is the loop's own.
package signals
