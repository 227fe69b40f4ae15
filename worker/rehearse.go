package worker

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
)

// Rehearse has a spare serve a connection to nobody before it says that it is
// ready, by the very way that the first real one will take: the client sends
// said, ends its side, and never looks at the answer. So the pages of the
// program that this takes, and the memory and threads that the runtime makes
// for it, are there when a client waits for them. It does nothing in a worker
// that has its connection already: its client would have to wait.
//
// It is for the start of main, and for a handler that does nothing to the
// world. How the handler ends does not matter and is not told to anybody; what
// it prints is seen. Said and the answer must fit the buffer of a socket, some
// 100 KiB: nobody reads the one before the other is written.
//
// The error says why it could not take place. A spare serves as well without
// it, only not as soon.
func Rehearse(handler Handler, said []byte) error {
	if !IsSpare() {
		return nil
	}
	if err := rehearse(handler, said); err != nil {
		return fmt.Errorf("rehearse: %w", err)
	}
	return nil
}

func rehearse(handler Handler, said []byte) error {
	// Before it serves anybody, nothing that the handler starts is to inherit
	// the channel to the master.
	if _, err := adopt(); err != nil {
		return err
	}
	conn, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(conn[0])
	defer unix.Close(conn[1])
	master, end, err := ipc.NewChannel()
	if err != nil {
		return err
	}
	defer unix.Close(master)
	defer unix.Close(end)
	if _, err := unix.Write(conn[0], said); err != nil {
		return err
	}
	if err := unix.Shutdown(conn[0], unix.SHUT_WR); err != nil {
		return err
	}
	// With More the end of the connection leaves fd 3 as it was.
	message, err := (&ipc.Assignment{More: true}).Append(nil)
	if err != nil {
		return err
	}
	if err := ipc.SendConnection(master, message, conn[1]); err != nil {
		return err
	}
	control := newControl(end)
	a, err := control.next(false)
	if err != nil {
		return err
	}
	serve(newConn(ipc.FDConnection, a, control), handler)
	return nil
}
