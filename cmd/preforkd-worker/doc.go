// Command preforkd-worker is the program that built-in handlers run in. The
// master starts it once for every connection, or ahead of its connections as a
// spare; it is of no use by hand.
//
//	preforkd-worker HANDLER
//
// serves with the built-in handler of that name (echo). It runs confined from
// its start to its end, see package confine.
//
//	preforkd-worker exec-stdio   PATH ARG0 [ARG]...
//	preforkd-worker exec-systemd PATH ARG0 [ARG]...
//
// get a connection in the same way and then become the program at PATH, with
// the argument vector that follows, in the same process. With exec-stdio the
// connection is its standard input and output; with exec-systemd it is fd 3,
// with LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES as sd_listen_fds(3) has them.
// These do not confine anything: the program is not of this house. See
// ipc.ExecStdio for what exactly it is born with.
//
// The exit codes of all forms, until the program has taken over, are those of
// package ipc.
//
// It is slim on purpose: every connection pays for starting and ending it, so
// nothing is linked in that a handler does not need. A test lists what it may
// not import, and BenchmarkSpawnAndExit measures what is left.
package main
