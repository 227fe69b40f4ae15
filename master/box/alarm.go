package box

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/process"
)

// Once nobody answers its calls, an observed program could do nothing but try in vain: its
// calls fail with ENOSYS, also the ones by which it waits. In a cell the first process ends
// it then. Elsewhere it has an alarm, which kills it with the master (stub.Entry.Alarm). The
// signal of PR_SET_PDEATHSIG (prctl(2)) would also come when the master executes its next
// version: the thread ends then that has started the program.

// An alarm is a pipe of which this process alone has the end for writing, until it ends.
type alarm struct {
	mu       sync.Mutex // guards what follows
	in, held *os.File   // nil before the first one is needed
}

// open returns the other end, opened anew: the owner and the signal are those of an open
// file. The caller must close it.
func (a *alarm) open() (*os.File, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.in == nil {
		var ends [2]int
		if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
			return nil, os.NewSyscallError("pipe2", err)
		}
		a.in, a.held = os.NewFile(uintptr(ends[0]), "alarm"), os.NewFile(uintptr(ends[1]), "alarm")
	}
	fd, err := unix.Open(process.FilePath(int(a.in.Fd())), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open an alarm: %w", err)
	}
	return os.NewFile(uintptr(fd), "alarm"), nil
}

func (a *alarm) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.in != nil {
		a.in.Close()
		a.held.Close()
	}
}

func (a *alarm) export(d *carry.Descriptors) *AlarmState {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.in == nil {
		return nil
	}
	return &AlarmState{d.Keep(int(a.in.Fd())), d.Keep(int(a.held.Fd()))}
}

func (a *alarm) restore(s *AlarmState, d *carry.Descriptors) (err error) {
	if s == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.in, err = d.File(s.In, "alarm"); err != nil {
		return err
	}
	if a.held, err = d.File(s.Held, "alarm"); err != nil {
		return err
	}
	if a.in == nil || a.held == nil {
		return errors.New("an alarm has two ends")
	}
	return nil
}

// needsAlarm reports whether what is started in the box needs one.
func (b *Box) needsAlarm() bool { return b.learns() && !b.set.hasCells() }
