package ipc

// The worker program has a second form, chosen by its first argument. It gets its
// connection like any other worker: at its start, or later as a spare. Then it executes
// a program that knows nothing of preforkd:
//
//	preforkd-worker exec-stdio   PATH ARG0 [ARG]...
//	preforkd-worker exec-systemd PATH ARG0 [ARG]...
//
// PATH is the executable. ARG0 and the arguments after it are the whole argument
// vector. The program's environment is Assignment.Environment, or the worker's own
// environment when that is empty. The program inherits the worker's standard error and
// resource limits. The worker ignores and blocks no additional signals.
//
// A worker that cannot execute PATH sends a Failure to the master and exits with
// ExitExec. The master counts the connection as one that got no worker.
const (
	// ExecStdio makes the connection the program's descriptors 0 and 1. No descriptor
	// above 2 is open.
	ExecStdio = "exec-stdio"

	// ExecSystemd leaves the connection on FDConnection, as systemd does with
	// Accept=yes. The environment gets LISTEN_FDS=1, LISTEN_PID with the program's pid,
	// and LISTEN_FDNAMES=connection (sd_listen_fds(3)). Standard input is /dev/null. No
	// descriptor above 3 is open.
	ExecSystemd = "exec-systemd"
)
