package box

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/box/observe"
	"github.com/preforkd/preforkd/master/process"
)

// shared is what all boxes of a master have in common.
type shared struct {
	self    int // pidfd of this process, whose main thread is in no box
	home    home
	null    *os.File
	reports *reports
	images  *images
	alarm   alarm
	observing
}

// share makes what boxes have in common. The lock is held.
func (m *Manager) share() (*shared, error) {
	if m.closed.Load() {
		return nil, errClosed
	}
	if m.shared != nil {
		return m.shared, nil
	}
	s := &shared{home: home{-1, -1}}
	var err error
	if s.self, err = unix.PidfdOpen(os.Getpid(), 0); err != nil {
		return nil, fmt.Errorf("pidfd_open: %w (Linux 5.3 has it)", err)
	}
	if s.null, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err == nil {
		s.images = newImages()
		if s.home, err = openHome(); err == nil {
			s.reports, err = newReports()
		}
	}
	if err != nil {
		s.close()
		return nil, err
	}
	m.shared = s
	return s, nil
}

func (s *shared) close() {
	s.observing.close()
	s.alarm.close()
	unix.Close(s.self)
	s.home.close()
	if s.null != nil {
		s.null.Close()
	}
	if s.images != nil {
		s.images.close()
	}
	if s.reports != nil {
		s.reports.close()
	}
}

// observing is who is told of system calls. There is nobody until a box wants it.
type observing struct {
	mu     sync.Mutex // guards what follows
	paused bool       // whoever it is stands still
	by     *observe.Observer
}

// observer returns who serves the listeners that entries send.
func (s *shared) observer() (*observe.Observer, error) {
	s.observing.mu.Lock()
	defer s.observing.mu.Unlock()
	if s.observing.by != nil {
		return s.observing.by, nil
	}
	begin := observe.New
	if s.observing.paused {
		begin = observe.NewPaused
	}
	o, err := begin(s.reports.in, s.reports.collect)
	if err != nil {
		return nil, fmt.Errorf("observe system calls: %w", err)
	}
	s.reports.sendListeners(o)
	s.observing.by = o
	return o, nil
}

// denied returns what of the calls of a process was denied, which has been reaped.
func (s *shared) denied(pid int) process.Denied {
	s.observing.mu.Lock()
	o := s.observing.by
	s.observing.mu.Unlock()
	if o == nil {
		return process.Denied{}
	}
	return o.Take(pid)
}

// pause has nobody read the reports nor answer a call, until resume.
func (o *observing) pause() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.paused = true
	if o.by != nil {
		o.by.Pause()
	}
}

func (o *observing) resume() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.paused = false
	if o.by == nil {
		return nil
	}
	return o.by.Resume()
}

func (o *observing) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.by != nil {
		o.by.Close()
	}
}
