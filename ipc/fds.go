package ipc

// These are the descriptors that a worker has at its start. They are fixed numbers and
// not environment variables. os/exec places ExtraFiles from 3 upwards, so there is
// nothing to parse and nothing that could be forged.
const (
	// FDConnection is the connected socket with the worker handoff. It is a stream
	// socket in blocking mode, without FD_CLOEXEC. The worker owns it; the master has
	// closed its own copy. A spare starts with /dev/null on this number, so that no
	// other descriptor can get the number. The spare moves each received connection to
	// this number.
	FDConnection = 3

	// FDControl is the worker's end of the control channel, an AF_UNIX SOCK_SEQPACKET
	// socket. End of file on it means that the master has exited.
	FDControl = 4
)
