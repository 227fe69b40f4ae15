package ipc

// The descriptors a worker is born with. They are fixed numbers rather than
// environment variables: os/exec places ExtraFiles from 3 upwards, so there is
// nothing to parse and nothing that could be forged.
const (
	// FDConnection is the connected socket with the worker handoff: a stream
	// socket in blocking mode, without FD_CLOEXEC. The worker owns it; the
	// master has closed its own copy. A spare is started with /dev/null in its
	// place, so that nothing else can come to lie there, and puts each
	// connection that it receives on this number.
	FDConnection = 3

	// FDControl is the worker's end of the control channel, an AF_UNIX
	// SOCK_SEQPACKET socket. End of file on it means that the master is gone.
	FDControl = 4
)
