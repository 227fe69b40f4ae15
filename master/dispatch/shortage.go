package dispatch

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/backoff"
)

// IsDescriptorShortage reports whether a start failed for want of descriptors.
func IsDescriptorShortage(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE)
}

// IsExhaustion reports whether a start failed for want of something that other
// processes may give back: processes, memory or descriptors.
func IsExhaustion(err error) bool {
	for _, errno := range []unix.Errno{unix.EAGAIN, unix.ENOMEM, unix.EMFILE, unix.ENFILE, unix.ENOBUFS} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// A shortage lets one connection at a time wait for descriptors, and keeps all
// others from being accepted meanwhile. The zero shortage is none.
type shortage struct {
	waiting atomic.Int32 // connections that wait
	mu      sync.Mutex   // held by the one whose turn it is
}

// await waits while a connection waits, and reports whether one did. It costs next
// to nothing when none does.
func (s *shortage) await() bool {
	if s.waiting.Load() == 0 {
		return false
	}
	s.mu.Lock()
	//lint:ignore SA2001 the lock is all that is wanted
	s.mu.Unlock()
	return true
}

// ErrGone is the outcome of a start that was given up because the client had gone.
var ErrGone = errors.New("the client has gone")

// retry waits, with others waiting behind, until try reports false or stopping is
// closed.
func (s *shortage) retry(stopping <-chan struct{}, try func() (again bool)) {
	s.waiting.Add(1)
	defer s.waiting.Add(-1)
	s.mu.Lock()
	defer s.mu.Unlock()
	retry(stopping, 0, try)
}

// retry calls try, after longer and longer pauses, until it reports false or the
// timeout has passed (0 is none). When stopping is closed it tries a last time.
func retry(stopping <-chan struct{}, timeout time.Duration, try func() (again bool)) {
	begun := time.Now()
	for pause := (backoff.Backoff{}); timeout == 0 || time.Since(begun) < timeout; {
		timer := time.NewTimer(pause.Next())
		select {
		case <-timer.C:
		case <-stopping:
			timer.Stop()
			try() // a last time: there may be descriptors again
			return
		}
		if !try() {
			return
		}
	}
}
