package box

import (
	"fmt"
	"sync"

	"github.com/preforkd/preforkd/master/box/observe"
	"github.com/preforkd/preforkd/master/process"
)

// observing is who is told of system calls. There is nobody until a box wants it.
type observing struct {
	mu sync.Mutex // guards what follows
	by *observe.Observer
}

// observer returns who serves the listeners that entries send.
func (s *shared) observer() (*observe.Observer, error) {
	s.observing.mu.Lock()
	defer s.observing.mu.Unlock()
	if s.observing.by != nil {
		return s.observing.by, nil
	}
	o, err := observe.New(s.reports.in, s.reports.collect)
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

func (o *observing) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.by != nil {
		o.by.Close()
	}
}
