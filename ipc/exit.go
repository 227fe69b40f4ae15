package ipc

import "strconv"

// Exit codes of a worker built on the SDK. They start at 100, clear of the
// codes with other owners: 1 and 2 (a Go program that fails or panics), 64 to
// 78 (sysexits.h), 126 to 165 (shells).
const (
	// ExitOK: the connection ended in order.
	ExitOK = 0
	// ExitHandler: the handler returned an error of its own.
	ExitHandler = 100
	// ExitReset: the peer reset the connection or stopped answering.
	ExitReset = 101
	// ExitUnknownHandler: the worker has no handler of the name it was asked for.
	ExitUnknownHandler = 102
	// ExitDescriptors: fd 3 or fd 4 is not what the contract says, most likely
	// because the worker was started by hand.
	ExitDescriptors = 103
	// ExitProtocol: the control channel carried something that the contract
	// does not allow.
	ExitProtocol = 104
	// ExitVersion: the master speaks another version of the contract. The
	// worker binary was replaced under a running master, or never matched.
	ExitVersion = 105
	// ExitOrphaned: the master was gone before it assigned a connection.
	ExitOrphaned = 106
	// ExitPanic: the handler panicked; stderr has the stack.
	ExitPanic = 107
	// ExitIdle: no byte in either direction for as long as Limits.Idle allows.
	ExitIdle = 108
	// ExitLifetime: the connection lasted longer than Limits.Lifetime allows.
	ExitLifetime = 109
	// ExitExec: the program that the worker was to become cannot be started.
	ExitExec = 110
)

// exitNames is not a map, because every worker would build it at its start and
// none ever looks.
var exitNames = [...]struct {
	code int
	name string
}{
	{ExitOK, "ok"},
	{ExitHandler, "handler failed"},
	{ExitReset, "peer reset"},
	{ExitUnknownHandler, "unknown handler"},
	{ExitDescriptors, "descriptors missing"},
	{ExitProtocol, "control protocol violated"},
	{ExitVersion, "other contract version"},
	{ExitOrphaned, "master gone"},
	{ExitPanic, "handler panicked"},
	{ExitIdle, "idle timeout"},
	{ExitLifetime, "lifetime over"},
	{ExitExec, "exec failed"},
}

// ExitName returns the meaning of a worker's exit code, or its number when the
// contract gives it none.
func ExitName(code int) string {
	for _, e := range exitNames {
		if e.code == code {
			return e.name
		}
	}
	return strconv.Itoa(code)
}
