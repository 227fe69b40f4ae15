package config

import "time"

// A Config is all that a master is told. Complete fills in what follows from
// the rest; Validate says what is wrong with it.
type Config struct {
	// WorkerBinary is the program that built-in handlers run in. Empty: it is
	// looked for beside the master's executable, then in ../lib/preforkd/.
	WorkerBinary string

	// DrainTimeout is how long live connections may go on after SIGTERM
	// before their workers get SIGTERM as well. KillDelay is how long those
	// may take before SIGKILL.
	DrainTimeout time.Duration
	KillDelay    time.Duration

	// Once serves a single connection and then ends with its worker's code.
	Once bool

	// Wrap is put in front of every worker's command line, for instance
	// strace and its options.
	Wrap []string

	Services []Service
}

// A Service is a named set of listeners, a handler and a policy.
type Service struct {
	Name   string
	Listen []Address

	// Handler names a built-in handler; Program is any other program and its
	// arguments. Exactly one of them is set.
	Handler string
	Program []string

	// Handoff is how the connection reaches the handler.
	Handoff Handoff

	// MaxConnections is the number of slots: connections alive at once.
	MaxConnections int

	// QuitWord, for the echo handler, is the line with which a client ends
	// the connection; empty for none.
	QuitWord string
}

// A Handoff is the way in which a connection reaches its handler.
type Handoff string

const (
	// HandoffWorker gives fd 3 the connection and fd 4 the control channel.
	HandoffWorker Handoff = "worker"
	// HandoffStdio gives fds 0 and 1 the connection, as inetd does.
	HandoffStdio Handoff = "stdio"
)
