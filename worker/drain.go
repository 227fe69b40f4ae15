package worker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
)

// A drain tells the handler of one connection that the master asks for an end.
type drain struct {
	control *control // nil: there is no master to ask

	mu     sync.Mutex // guards what follows
	ctx    context.Context
	cancel context.CancelFunc
	stop   int           // eventfd that ends the watcher, valid while done is not nil
	done   chan struct{} // closed when the watcher has ended, nil without one
}

// context returns the connection's context and starts the watcher with it.
func (d *drain) context() context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx != nil {
		return d.ctx
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	switch {
	case d.control == nil:
	case d.control.draining:
		d.cancel()
	default:
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		if err != nil {
			// Out of descriptors. The connection is worth more than its
			// context, and the master has a signal for those that do not end.
			return d.ctx
		}
		d.stop, d.done = fd, make(chan struct{})
		go d.watch()
	}
	return d.ctx
}

// watch ends the context when the master says so. It never reads once it was
// told to stop, so that the messages for the next connection stay where they
// are, and it never waits in a read, so that it can be told.
func (d *drain) watch() {
	defer close(d.done)
	fds := []unix.PollFd{{Fd: int32(d.stop), Events: unix.POLLIN}, {Fd: int32(d.control.fd), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return
		}
		if fds[0].Revents != 0 {
			return
		}
		typ, _, err := ipc.Receive(d.control.fd, d.control.buf, unix.MSG_DONTWAIT)
		switch {
		case err == unix.EAGAIN:
			continue
		case err == io.EOF, err == unix.ECONNRESET:
			// The master is gone, and the connection goes on.
			return
		case err == nil && typ == ipc.TypeDrain:
			d.control.draining = true
		case err == nil:
			d.control.fault = violation(fmt.Errorf("unexpected message: %v", typ))
		case errors.Is(err, ipc.ErrVersion), errors.Is(err, ipc.ErrMalformed):
			d.control.fault = violation(err)
		default:
			return
		}
		d.cancel()
		return
	}
}

// end stops the watcher and reports whether the context had ended. No other
// goroutine reads from the control channel afterwards.
func (d *drain) end() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx == nil {
		return false
	}
	if d.done != nil {
		unix.Write(d.stop, binary.NativeEndian.AppendUint64(nil, 1))
		<-d.done
		unix.Close(d.stop)
		d.done = nil
	}
	ended := d.ctx.Err() != nil
	d.cancel()
	return ended
}
