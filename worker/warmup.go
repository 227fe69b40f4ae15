package worker

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
)

// WarmUp makes a spare serve an artificial connection before it reports that it is
// ready. The code path is the same as for a real connection. The artificial client
// sends input, half-closes, and never reads the answer. Afterwards the memory pages of
// the program, the runtime's memory and its threads are in place for the first real
// client. WarmUp does nothing in a worker that already has its connection, because
// its client would have to wait.
//
// Call WarmUp first in main, and only with a handler that has no side effects. Nobody
// learns how the handler ends, but its output is visible. The input and the answer must
// each fit into a socket buffer, about 100 KiB: nobody reads one before the other is
// written.
//
// The error says why the warm-up failed. A spare serves without a warm-up too, but its
// first connection is slower.
func WarmUp(handler Handler, input []byte) error {
	if !IsSpare() {
		return nil
	}
	if err := warmUp(handler, input); err != nil {
		return fmt.Errorf("warm up: %w", err)
	}
	return nil
}

func warmUp(handler Handler, input []byte) error {
	// Programs that the handler starts must not inherit the control channel.
	if _, err := adoptDescriptors(); err != nil {
		return err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	master, workerEnd, err := ipc.NewChannel()
	if err != nil {
		return err
	}
	defer unix.Close(master)
	defer unix.Close(workerEnd)
	if _, err := unix.Write(pair[0], input); err != nil {
		return err
	}
	if err := unix.Shutdown(pair[0], unix.SHUT_WR); err != nil {
		return err
	}
	// In a reusable worker, the end of the connection leaves /dev/null on fd 3, as before.
	message, err := (&ipc.Assignment{Reusable: true}).Append(nil)
	if err != nil {
		return err
	}
	if err := ipc.SendConnection(master, message, pair[1]); err != nil {
		return err
	}
	control := newControl(workerEnd)
	a, err := control.nextAssignment(false)
	if err != nil {
		return err
	}
	serve(newConn(ipc.FDConnection, a, control), handler)
	return nil
}
