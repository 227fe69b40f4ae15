// Package logging builds the logger that the master writes with, and names the
// events and fields that it writes.
//
// It owns two promises. Logging never blocks: the master logs from its accept
// path, and stderr may be a pipe that nobody reads, a stopped terminal or a
// full disk. And a line is a line: whole, one event long, and without a byte
// that a terminal would obey, whatever a peer put into it.
//
// It never decides what is worth an event, never ends the process, and never
// changes the flags of the file that it writes to: workers and shells share it.
package logging
