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

// A drain tells the handler of one connection that the master asks the worker to
// finish.
type drain struct {
	control *control // nil without a master

	mu     sync.Mutex // guards the fields below
	ctx    context.Context
	cancel context.CancelFunc
	stopFD int           // eventfd that stops the watcher, valid while done is not nil
	done   chan struct{} // closed when the watcher has ended; nil without a watcher
}

// context returns the connection's context. The first call starts the watcher.
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
			// No descriptor is available. Serving the connection matters more than its
			// context, and the master can still stop the worker with a signal.
			return d.ctx
		}
		d.stopFD, d.done = fd, make(chan struct{})
		go d.watch()
	}
	return d.ctx
}

// watch ends the context when the master asks for it. After a stop it never reads
// again, so that messages for the next connection stay in the channel. It never blocks
// in a read, so that it can always be stopped.
func (d *drain) watch() {
	defer close(d.done)
	fds := []unix.PollFd{{Fd: int32(d.stopFD), Events: unix.POLLIN}, {Fd: int32(d.control.fd), Events: unix.POLLIN}}
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
			// The master has exited. The connection continues.
			return
		case err == nil && typ == ipc.TypeDrain:
			d.control.draining = true
		case err == nil:
			d.control.protocolErr = protocolError(fmt.Errorf("unexpected message: %v", typ))
		case errors.Is(err, ipc.ErrVersion), errors.Is(err, ipc.ErrMalformed):
			d.control.protocolErr = protocolError(err)
		default:
			return
		}
		d.cancel()
		return
	}
}

// stopWatching stops the watcher and reports whether the context had ended. Afterwards
// no other goroutine reads from the control channel.
func (d *drain) stopWatching() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx == nil {
		return false
	}
	if d.done != nil {
		unix.Write(d.stopFD, binary.NativeEndian.AppendUint64(nil, 1))
		<-d.done
		unix.Close(d.stopFD)
		d.done = nil
	}
	ended := d.ctx.Err() != nil
	d.cancel()
	return ended
}
