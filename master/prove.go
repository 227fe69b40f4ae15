package master

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
)

// prove starts a worker of each service, without a connection, so that the
// manager is told of a service that is ready only when it is: the program is
// there, the user may run it, and there is room for one more process. A program
// that is not built on the SDK is not run for that, but a worker is that would
// become it.
//
// It runs before the loop does, and reaps what it has started. It returns the
// signal that has ended it, or 0.
func (m *Master) prove() (unix.Signal, error) {
	for _, s := range m.services {
		if s.spare.Path == "" {
			continue // a program, and no worker binary to wait in its place
		}
		m.manager.Extend(readyWithin + 2*killTime)
		sig, err := m.proveService(s)
		if err != nil {
			return 0, fmt.Errorf("service %s: no worker can be started: %w", s.Name, err)
		}
		if sig != 0 {
			return sig, nil
		}
		s.log.Debug("worker proven")
	}
	return 0, nil
}

func (m *Master) proveService(s *service) (unix.Signal, error) {
	child, err := s.spare.Start(nil, s.env, nil)
	if err != nil {
		return 0, err
	}
	defer child.Registered()
	defer unix.Close(child.Control)
	said := make(chan error, 1)
	patience := readyWithin
	if s.mayBeSilent() {
		patience = silentFor
	}
	go func() { said <- awaitReady(child.Control, patience) }()
	sig, err := m.awaitProof(said)
	if sig != 0 || err != nil && !errors.Is(err, errHungUp) {
		_ = process.SignalGroup(child.Pid, unix.SIGKILL) // not reaped yet, so it is there
		if sig != 0 {
			<-said
		}
	} else if err == nil {
		// What it has of the channel ends, and with it the wait for a connection.
		err := unix.Shutdown(child.Control, unix.SHUT_RDWR)
		if err != nil {
			return 0, os.NewSyscallError("shutdown", err)
		}
	}
	exit, exitErr := m.awaitExit(child)
	if sig != 0 || err == nil || exitErr != nil {
		return sig, exitErr
	}
	return 0, failedProof(s, err, exit.Status)
}

// awaitProof waits for what a worker says, or for a signal that ends the
// master. Any other signal is for the loop, later.
func (m *Master) awaitProof(said <-chan error) (unix.Signal, error) {
	var later []os.Signal
	defer func() {
		for _, sig := range later {
			select {
			case m.signals <- sig:
			default:
			}
		}
	}()
	for {
		select {
		case err := <-said:
			return 0, err
		case sig := <-m.signals:
			if sig != unix.SIGHUP && sig != unix.SIGUSR1 {
				return sig.(unix.Signal), nil
			}
			later = append(later, sig)
		}
	}
}

// failedProof returns why a worker that did not say that it is ready proves
// nothing; or nil, when that is no reason: a program that need not speak may take
// a connection that is none for one that is over already, or wait for it.
func failedProof(s *service, err error, status unix.WaitStatus) error {
	switch {
	case errors.Is(err, errSilent) && s.mayBeSilent():
		return nil
	case !errors.Is(err, errHungUp):
		return err
	case status.Signaled():
		return fmt.Errorf("it was ended by %s", unix.SignalName(status.Signal()))
	case s.mayBeSilent() && status.ExitStatus() == ipc.ExitOK:
		return nil
	}
	return fmt.Errorf("it exited with %d (%s)", status.ExitStatus(), ipc.ExitName(status.ExitStatus()))
}

// mayBeSilent reports whether workers of the service need not say that they are
// ready: a program takes its connection from fd 3 without a word, if it likes,
// as long as it is no spare.
func (s *service) mayBeSilent() bool {
	return s.Handler == "" && s.Handoff == config.HandoffWorker && s.MaxSpares == 0
}

// silentFor is how long such a program has to fail.
const silentFor = time.Second

var (
	errHungUp = errors.New("it closed its control channel")
	errSilent = errors.New("it does not say that it is ready")
)

// awaitReady waits until a worker says over its control channel that it is
// ready.
func awaitReady(control int, patience time.Duration) error {
	deadline := time.Now().Add(patience)
	var message [ipc.MaxMessage]byte
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(control), Events: unix.POLLIN}}, int(max(0, time.Until(deadline).Milliseconds())))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return os.NewSyscallError("poll", err)
		case n == 0:
			return fmt.Errorf("%w within %v", errSilent, patience)
		}
		switch t, _, err := ipc.Receive(control, message[:], unix.MSG_DONTWAIT); {
		case err == unix.EAGAIN:
		case err != nil:
			return errHungUp
		case t != ipc.TypeReady:
			return fmt.Errorf("it says %v where it should say that it is ready", t)
		default:
			return nil
		}
	}
}

// awaitExit reaps until a child has ended. Other children that end are nobody's
// workers.
func (m *Master) awaitExit(child *process.Child) (process.Exit, error) {
	timeout := time.NewTimer(killTime)
	defer timeout.Stop()
	for killed := false; ; {
		for exit := range process.Exits() {
			if exit.Pid == child.Pid && child.Reaped() {
				return exit, nil
			}
			m.stranger(exit)
		}
		select {
		case <-m.children:
		case <-timeout.C:
			if killed {
				return process.Exit{}, fmt.Errorf("process %d does not end", child.Pid)
			}
			killed = true
			m.log.Warn("worker overdue", logging.PID(child.Pid), logging.Signal(unix.SIGKILL), logging.Reason("proof"))
			_ = process.SignalGroup(child.Pid, unix.SIGKILL)
			timeout.Reset(killTime)
		}
	}
}
