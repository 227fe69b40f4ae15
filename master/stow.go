package master

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/attic"
	"github.com/preforkd/preforkd/master/logging"
)

// Each live worker with the worker handoff has a control channel, and every
// spawn copies and closes all descriptors that the master has: with 10,000 that
// takes ten times as long as all the rest. So where there are many, the
// channels of those whose connections last go to an attic, some at a time.
const (
	manyChannels   = 256
	stowAtOnce     = 64
	longConnection = time.Second
)

// A stowage knows which channels are among the master's descriptors, and where
// others are. The loop owns it.
type stowage struct {
	attic  *attic.Attic // nil until it is needed
	failed bool         // the log says that channels stay where they are
	near   []*worker    // whose channels may be near, the longest serving first; not their pids, which come again
}

// stow takes note of a worker whose state has changed, if that is to serve its
// last connection: from then on nobody but the loop uses its channel. It makes
// room if there are too many.
func (m *Master) stow(w *worker, now time.Time) {
	s := &m.stowage
	if s.impossible() || w.stateNow() != serving || w.reusable() || w.child.Control < 0 {
		return
	}
	s.near = append(s.near, w)
	if len(s.near) < manyChannels+stowAtOnce {
		return
	}
	var last []*worker
	n := 0
	for ; n < len(s.near)-manyChannels; n++ {
		w := s.near[n]
		if w.child.Control < 0 {
			continue // most connections are short
		}
		if now.Sub(w.since) < longConnection {
			break
		}
		last = append(last, w)
	}
	clear(s.near[:n])
	s.near = s.near[n:]
	if err := s.put(last); err != nil && !s.failed {
		m.log.Warn("control channels stay where every spawn has to copy them", logging.Error(err))
		s.failed = true
	}
	if s.impossible() {
		s.near = nil
	}
}

// impossible reports whether there can be no attic. One that there is may have
// been full, and have room again when connections have ended.
func (s *stowage) impossible() bool { return s.failed && s.attic == nil }

// put moves channels to the attic.
func (s *stowage) put(workers []*worker) error {
	if len(workers) == 0 {
		return nil
	}
	if s.attic == nil {
		var err error
		if s.attic, err = attic.Open(); err != nil {
			return err
		}
	}
	var fds []int
	for _, w := range workers {
		fds = append(fds, w.child.Control)
	}
	there, err := s.attic.Put(fds)
	for i, fd := range there {
		w := workers[i]
		w.service.pool.mu.Lock()
		unix.Close(w.child.Control)
		w.child.Control, w.attic = fd, s.attic
		w.service.pool.mu.Unlock()
	}
	return err
}

func (s *stowage) close() {
	if s.attic != nil {
		s.attic.Close()
	}
}

// use runs f with the number of the worker's control channel, there where that
// is its number.
func (w *worker) use(f func(channel int)) {
	if w.attic == nil {
		f(w.child.Control)
		return
	}
	w.attic.Do(func() { f(w.child.Control) })
}

// receive reads the next message from the channel, if there is one.
func (w *worker) receive(buf []byte) (t ipc.Type, body []byte, err error) {
	w.use(func(channel int) { t, body, err = ipc.Receive(channel, buf, unix.MSG_DONTWAIT) })
	return t, body, err
}

// isCut reports whether nothing more can come over the channel.
func (w *worker) isCut() (cut bool) {
	w.use(func(channel int) {
		fds := []unix.PollFd{{Fd: int32(channel), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(fds, 0)
		cut = n > 0 || err != nil
	})
	return cut
}

// closeControl closes the master's end of the control channel, which tells a
// worker that waits to go. The pool's lock is held: another goroutine may be
// about to send something, and the number could be another channel's by then.
func (w *worker) closeControl() {
	if w.child.Control >= 0 {
		w.use(func(channel int) { unix.Close(channel) })
		w.child.Control = -1
	}
}
