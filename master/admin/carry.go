package admin

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/metrics"
)

// What of the Servers does not go over to the program that takes over:
//
//   - servers that were replaced and answer the last of those who have connected before:
//     they end with the program
//   - what packages control and metrics say of their connections

// A State is the Servers in the state that a master hands to the next one.
type State struct {
	Control *control.ServerState `json:"control,omitempty"`
	File    control.File         `json:"file"` // of the control socket
	// ControlError says why there is no control socket where there should be one.
	ControlError string `json:"control_error,omitempty"`
	// Metrics is the socket of the metrics. MetricsAddress is as it is configured.
	Metrics        carry.FD `json:"metrics"`
	MetricsAddress string   `json:"metrics_address,omitempty"`
}

// settleTime is how long clients with a request may take to get their answer before an
// upgrade. Most requests take a millisecond, and only operators wait meanwhile.
const settleTime = 2 * time.Second

// Settle is Pause, and returns a function that waits until clients have the answers that
// they were promised, but for one that waits for the outcome of an upgrade. The answers
// need the loop, so the function must be called by another goroutine. It returns after
// settleTime at the latest.
func (s *Servers) Settle() (wait func(), err error) {
	if err := s.Pause(); err != nil {
		return nil, err
	}
	now := s.now
	return func() {
		var settling sync.WaitGroup
		if now.control != nil {
			settling.Go(func() { now.control.Settle(settleTime) })
		}
		if now.metrics != nil {
			settling.Go(func() { now.metrics.Settle(settleTime) })
		}
		settling.Wait()
	}, nil
}

// Pause has no connection be accepted until Resume. Clients wait in the queues of the
// sockets. It does not wait for the requests that there are, which may need the loop.
func (s *Servers) Pause() error {
	if s.now.metrics != nil {
		if err := s.now.metrics.Pause(); err != nil {
			return err
		}
	}
	if s.now.control != nil {
		s.now.control.Pause()
	}
	s.paused = true
	return nil
}

// Resume ends what Pause or Restore has begun. Servers that were replaced meanwhile are
// closed now.
func (s *Servers) Resume() {
	s.paused = false
	if s.now.metrics != nil {
		s.now.metrics.Resume()
	}
	if s.now.control != nil {
		s.now.control.Resume()
	}
	for _, f := range s.deferred {
		f()
	}
	s.deferred = nil
	if s.carried >= 0 {
		unix.Close(s.carried)
		s.carried = -1
	}
}

// whenResumed calls a function that does something to a socket: now, or if nothing may
// happen to one now, as soon as it may.
func (s *Servers) whenResumed(f func()) {
	if s.paused {
		s.deferred = append(s.deferred, f)
		return
	}
	f()
}

// Export returns the state of servers that are paused.
func (s *Servers) Export(d *carry.Descriptors) (State, error) {
	state := State{File: s.now.file, Metrics: carry.None, MetricsAddress: s.now.metricsAddress}
	if s.now.controlError != nil {
		state.ControlError = s.now.controlError.Error()
	}
	if s.now.control != nil {
		exported, err := s.now.control.Export(d)
		if err != nil {
			return state, err
		}
		state.Control = &exported
	}
	switch {
	case s.carried >= 0:
		state.Metrics = d.Keep(s.carried)
	case s.now.metrics != nil:
		fd, err := s.now.metrics.Export(d)
		if err != nil {
			return state, err
		}
		state.Metrics = fd
	}
	return state, nil
}

// Restore gives new Servers a state. They are paused until Resume, and answer from then on
// if Open was called before. It changes nothing about the sockets.
func (s *Servers) Restore(state *State, d *carry.Descriptors) (err error) {
	if state.Control != nil && state.ControlError != "" || (state.Metrics != carry.None) != (state.MetricsAddress != "") {
		return errors.New("control socket and metrics are there and are not")
	}
	s.paused, s.restored = true, true
	s.now.file, s.now.metricsAddress = state.File, state.MetricsAddress
	if state.ControlError != "" {
		s.now.controlError = errors.New(state.ControlError)
	}
	if s.carried, err = d.Take(state.Metrics); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	if state.Control != nil {
		if s.now.control, err = control.RestoreServer(state.Control, d, s.log); err != nil {
			return err
		}
		s.now.control.Metrics = s.handler
		s.carriedControl = s.now.control
	}
	return nil
}

// Undo removes the file of a control socket that was opened since Restore. The servers are
// of no use afterwards.
func (s *Servers) Undo() error {
	if c := s.now.control; c != nil && c != s.carriedControl {
		return c.Close()
	}
	return nil
}

// A socket is a descriptor that went over, as a listen.Controller.
type socket int

// Control implements listen.Controller.
func (s socket) Control(f func(fd uintptr)) error {
	f(uintptr(s))
	return nil
}

// attach makes restored servers ready to answer.
func (s *Servers) attach() error {
	if !s.restored {
		return nil
	}
	if s.carried >= 0 && s.now.metrics == nil {
		server, err := metrics.Attach(s.carried)
		if err != nil {
			return err
		}
		s.now.metrics = server
		server.Serve(s.handler)
	}
	if s.now.control != nil {
		if err := s.now.control.Attach(); err != nil {
			return err
		}
	}
	s.restored = false
	s.Serve()
	return nil
}
