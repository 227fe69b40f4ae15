package accept

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/epoll"
)

// A standby looks after the listeners while nobody leads, and has somebody lead as soon
// as a connection comes. It is armed and disarmed by a system call for each connection,
// which wakes nobody: Go's poller would wake whoever waits at the listeners' own set, and
// to wait there in time somebody would have to be woken for each connection.
type standby struct {
	listeners *epoll.Set
	set       *epoll.Set // of the set of the listeners
	fd        int        // of the latter, which outlives this
}

func newStandby(listeners *epoll.Set) (*standby, error) {
	set, err := epoll.New()
	if err != nil {
		return nil, fmt.Errorf("wait for connections: %w", err)
	}
	s := &standby{listeners: listeners, set: set}
	err = listeners.Descriptor(func(fd int) error {
		s.fd = fd
		return set.Add(fd, unix.EPOLLONESHOT, 0)
	})
	if err != nil {
		set.Close()
		return nil, fmt.Errorf("wait for connections: %w", err)
	}
	return s, nil
}

// arm has wait return once when a connection waits. Without memory for it, the crew's
// timer is all that is left; it reports false.
func (s *standby) arm() bool { return s.set.Modify(s.fd, unix.EPOLLIN|unix.EPOLLONESHOT, 0) == nil }

// disarm ends what arm began. wait may have returned.
func (s *standby) disarm() { _ = s.set.Modify(s.fd, unix.EPOLLONESHOT, 0) }

// wait waits until a connection waits while it is armed. It reports false after close.
func (s *standby) wait() bool {
	var events [1]unix.EpollEvent
	_, _, err := s.set.Wait(events[:])
	return err == nil
}

// close ends wait. It comes before the end of the listeners' set.
func (s *standby) close() { s.set.Close() }
