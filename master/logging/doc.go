// Package logging builds the logger of the master, and names its events and
// fields.
//
// It owns the queue in front of the log, and keeps two promises. Logging never
// blocks, because the master logs while it accepts connections. stderr may be a
// pipe that nobody reads, a stopped terminal or a full disk. Each event is one
// whole line, without a byte that a terminal takes for a command, whatever a
// peer has sent.
//
// The package never decides what is worth an event, and never ends the process.
// It never changes the flags of the file to which it writes, because workers
// and shells share that file.
package logging
