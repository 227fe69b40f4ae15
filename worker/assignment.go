package worker

import (
	"errors"
	"fmt"
	"io"

	"github.com/preforkd/preforkd/ipc"
)

// An exitError is a failure with an exit code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }

func (e *exitError) Unwrap() error { return e.err }

// receiveAssignment reads the one message that a fresh worker may find in its
// control channel. It waits: a worker started ahead of its connection has
// nothing in the channel yet. Every error is an *exitError.
func receiveAssignment(fd int) (ipc.Assignment, error) {
	var none ipc.Assignment
	typ, body, err := ipc.Receive(fd, make([]byte, ipc.MaxMessage), 0)
	switch {
	case err == io.EOF:
		return none, &exitError{ipc.ExitOrphaned, errors.New("receive assignment: the master is gone")}
	case errors.Is(err, ipc.ErrVersion):
		return none, &exitError{ipc.ExitVersion, fmt.Errorf("receive assignment: %w; this worker's binary was probably replaced while the master was running", err)}
	case err != nil:
		return none, &exitError{ipc.ExitProtocol, fmt.Errorf("receive assignment: %w", err)}
	case typ != ipc.TypeAssignment:
		return none, &exitError{ipc.ExitProtocol, fmt.Errorf("receive assignment: unexpected message: %v", typ)}
	}
	a, err := ipc.DecodeAssignment(body)
	if err != nil {
		return none, &exitError{ipc.ExitProtocol, fmt.Errorf("receive assignment: %w", err)}
	}
	return a, nil
}
