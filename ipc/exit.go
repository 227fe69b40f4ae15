package ipc

import "strconv"

// These are the exit codes of a worker that is built on the SDK. They start at 100,
// because lower codes have other meanings. 1 and 2 are those of a Go program that fails
// or panics. 64 to 78 belong to sysexits.h, and 126 to 165 to shells.
const (
	// ExitOK: the connection ended normally.
	ExitOK = 0
	// ExitHandler: the handler returned an error of its own.
	ExitHandler = 100
	// ExitReset: the peer reset the connection or stopped answering.
	ExitReset = 101
	// ExitUnknownHandler: the worker has no handler with the requested name.
	ExitUnknownHandler = 102
	// ExitDescriptors: fd 3 or fd 4 is not what the contract requires. The most likely
	// cause is that a person started the worker by hand.
	ExitDescriptors = 103
	// ExitProtocol: the control channel carried a message that the contract does not
	// allow.
	ExitProtocol = 104
	// ExitVersion: the master speaks another version of the contract. The worker binary
	// was replaced while the master was running, or never matched the master.
	ExitVersion = 105
	// ExitOrphaned: the master had exited before it assigned a connection.
	ExitOrphaned = 106
	// ExitPanic: the handler panicked; stderr has the stack.
	ExitPanic = 107
	// ExitIdle: no byte moved in either direction for the time Limits.Idle.
	ExitIdle = 108
	// ExitLifetime: the connection lasted longer than Limits.Lifetime allows.
	ExitLifetime = 109
	// ExitExec: the worker could not execute its program.
	ExitExec = 110
)

// exitNames is an array and not a map. Every worker would build a map at its start, and
// no worker ever uses it.
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

// ExitName returns the meaning of a worker's exit code. For a code that the contract
// does not define, ExitName returns the number.
func ExitName(code int) string {
	for _, e := range exitNames {
		if e.code == code {
			return e.name
		}
	}
	return strconv.Itoa(code)
}
