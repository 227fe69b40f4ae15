// Command preforkd-worker is the program that built-in handlers run in. The master
// starts one for every connection, or starts it in advance as a spare. It is not made
// to be started by hand.
//
//	preforkd-worker HANDLER [boxed]
//
// serves with the built-in handler of that name (echo). The worker runs confined from
// start to end; see package confine. In a box that does a part of that the master adds
// boxed (ipc.ArgumentBoxed).
//
//	preforkd-worker exec-stdio   PATH ARG0 [ARG]...
//	preforkd-worker exec-systemd PATH ARG0 [ARG]...
//
// get a connection in the same way. Then they execute the program at PATH, with the
// argument vector that follows, in the same process. With exec-stdio the connection is
// the program's standard input and output. With exec-systemd it is fd 3, with
// LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES as in sd_listen_fds(3). These two forms do
// not confine the process, because the program is not part of preforkd. See
// ipc.ExecStdio for the program's descriptors and environment.
//
// All forms exit with the codes of package ipc, until the other program has started.
//
// The program is small on purpose: every connection pays for its start and end, so
// nothing is linked that a handler does not need. A test lists the forbidden imports,
// and BenchmarkSpawnAndExit measures the cost.
package main
