package endpoints

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
)

// Every spawn copies and closes all descriptors that the master has: with 10,000
// listeners that takes three times as long as all the rest. So when there are many,
// they move to a thread with a descriptor table of its own.

// manyListeners is from how many listeners on they move. With fewer, a spawn takes a
// tenth longer at most.
const manyListeners = 256

// An attic is where the sockets of many listeners are. The zero attic is empty.
type attic struct {
	sockets *listen.Attic // nil until it is needed
	failed  bool          // the log says that some stay among the master's
	open    func() (*listen.Attic, error)
}

// Shelve moves the sockets of many listeners out of the table of descriptors that every
// spawn copies. Those that were passed stay, because the Set has them in any case.
func (s *Set) Shelve() {
	all := s.All()
	if s.closed || len(all) < manyListeners {
		return
	}
	err := s.attic.store(all)
	if err != nil && !s.attic.failed {
		s.log.Warn("listeners stay where every spawn has to copy them", logging.Error(err))
	}
	s.attic.failed = err != nil
}

func (a *attic) store(listeners []*Listener) (err error) {
	var bound []*listen.Listener
	for _, l := range listeners {
		if !l.endpoint.passed {
			bound = append(bound, l.Listener)
		}
	}
	if a.sockets == nil {
		if a.sockets, err = a.open(); err != nil {
			return err
		}
	}
	return a.sockets.Store(bound)
}

// closeStored closes the sockets of those listeners that are in the attic.
func (a *attic) closeStored(listeners []*Listener) {
	if a.sockets == nil {
		return
	}
	var sockets []*listen.Listener
	for _, l := range listeners {
		sockets = append(sockets, l.Listener)
	}
	a.sockets.CloseListeners(sockets)
}

// end closes the attic, whose listeners are closed.
func (a *attic) end() {
	if a.sockets != nil {
		a.sockets.Close()
		a.sockets = nil
	}
}

// lowNumbers is how many numbers of descriptors are kept for what is opened after many
// listeners: control sockets, spares, the attic itself.
const lowNumbers = 64

// keepLowNumbers takes the lowest numbers of descriptors that are free, until release.
// A spawn copies the table up to the highest number in use (dup_fd in fs/file.c), even
// if there are no more than a few. So nothing that stays should be above listeners that
// will move.
func keepLowNumbers() (release func()) {
	var kept []int
	for range lowNumbers {
		fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			break // spawns are a little slower then
		}
		kept = append(kept, fd)
	}
	return func() {
		for _, fd := range kept {
			unix.Close(fd)
		}
	}
}
