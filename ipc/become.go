package ipc

// The worker program's second form. With one of these words as its first
// argument it gets its connection like any other worker, spawned for it or as
// a spare, and then becomes a program that knows nothing of preforkd:
//
//	preforkd-worker exec-stdio   PATH ARG0 [ARG]...
//	preforkd-worker exec-systemd PATH ARG0 [ARG]...
//
// PATH is the executable, ARG0 and what follows its whole argument vector. The
// program's environment is Assignment.Environment, or the worker's own when
// that is empty. It inherits standard error and the limits of the worker, and
// no signal is ignored or blocked that was not before.
const (
	// ExecStdio makes the connection the program's descriptors 0 and 1.
	// Nothing is open beyond 2.
	ExecStdio = "exec-stdio"

	// ExecSystemd leaves the connection on FDConnection, the way systemd hands
	// one over with Accept=yes: the environment gets LISTEN_FDS=1, LISTEN_PID
	// with the program's pid, and LISTEN_FDNAMES=connection
	// (sd_listen_fds(3)). Standard input is /dev/null and nothing is open
	// beyond 3.
	ExecSystemd = "exec-systemd"
)
