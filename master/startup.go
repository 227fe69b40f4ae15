package master

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/workers"
)

// spareThreads is how many threads may wait in a system call beside those that
// run and those that start processes: for the log, the control channels, parked
// descriptors, the removal of a socket, a look at /proc, and the runtime's own.
const spareThreads = 10

// begin starts to accept. Where a service manager wants to know when the master
// is ready, a worker has proved before that it starts. begin returns the signal
// that has ended it before, or 0.
func (m *Master) begin() (unix.Signal, error) {
	if m.notify.manager != nil && !m.once.enabled && len(m.services.cfg.Wrap) == 0 {
		if sig, err := m.startupProbe(); sig != 0 || err != nil {
			return sig, err
		}
	}
	listeners := m.endpoints.All()
	process.WarmThreads(spareThreads + runtime.GOMAXPROCS(0) + m.acceptor.PerListener()*len(listeners))
	for _, s := range m.services.inForce {
		for _, l := range m.endpoints.Of(s.Name) {
			m.acceptor.Start(l)
		}
		m.dispatcher.Fill(s.Spec())
	}
	m.admin.serve()
	m.endpoints.Store(listeners)
	m.notify.ready()
	m.notifyStatus()
	return 0, nil
}

// failStartup ends a master that could not begin to serve.
func (m *Master) failStartup(err error) (Result, error) {
	m.stopAccepting()
	m.services.close()
	m.workers.Close()
	m.closeAdmin()
	m.log.Error("not started", logging.Error(err))
	m.log.Info(logging.EventStopped, m.services.totals().Fields()...)
	return Result{ExitCode: 1}, err
}

// startupProbe starts a worker of each service, without a connection, so that
// the manager is told of a service that is ready only when it is: the program is
// there, the user may run it, and there is room for one more process. A program
// that is not built on the SDK is not run for that, but a worker is that would
// execute it.
//
// It runs before the loop does, and reaps what it has started. It returns the
// signal that has ended it, or 0.
func (m *Master) startupProbe() (unix.Signal, error) {
	for _, s := range m.services.inForce {
		if s.Spec().SpareCommand().Path == "" {
			continue // a program, and no worker binary to wait in its place
		}
		m.notify.extend(workers.ReadyTimeout + 2*killTime)
		sig, err := m.probeService(s.Spec())
		if err != nil {
			return 0, fmt.Errorf("service %s: no worker can be started: %w", s.Name, err)
		}
		if sig != 0 {
			return sig, nil
		}
		s.Log.Debug("worker proven")
	}
	return 0, nil
}

func (m *Master) probeService(spec *service.Spec) (unix.Signal, error) {
	child, err := spec.SpareCommand().Start(nil, spec.SpareEnvironment(), nil)
	if err != nil {
		return 0, err
	}
	defer child.Registered()
	defer unix.Close(child.Control)
	answer := make(chan error, 1)
	timeout := workers.ReadyTimeout
	if spec.ReadyOptional() {
		timeout = probeGracePeriod
	}
	go func() { answer <- awaitReady(child.Control, timeout) }()
	sig, err := m.awaitProbeOrSignal(answer)
	if sig != 0 || err != nil && !errors.Is(err, errChannelClosed) {
		_ = process.SignalGroup(child.Pid, unix.SIGKILL) // it is not reaped yet, so it is there
		if sig != 0 {
			<-answer
		}
	} else if err == nil {
		// What it has of the channel ends, and with it the wait for a connection.
		err := unix.Shutdown(child.Control, unix.SHUT_RDWR)
		if err != nil {
			return 0, os.NewSyscallError("shutdown", err)
		}
	}
	exit, exitErr := m.awaitProbeExit(child)
	if sig != 0 || err == nil || exitErr != nil {
		return sig, exitErr
	}
	return 0, probeError(spec, err, exit.Status)
}

// awaitProbeOrSignal waits for the answer of a probe, or for a signal that ends
// the master. Any other signal is for the loop, later.
func (m *Master) awaitProbeOrSignal(answer <-chan error) (unix.Signal, error) {
	var later []os.Signal
	defer func() {
		for _, sig := range later {
			select {
			case m.loop.signals <- sig:
			default:
			}
		}
	}()
	for {
		select {
		case err := <-answer:
			return 0, err
		case sig := <-m.loop.signals:
			if sig != unix.SIGHUP && sig != unix.SIGUSR1 {
				return sig.(unix.Signal), nil
			}
			later = append(later, sig)
		}
	}
}

// probeError returns why a probe failed whose worker has not said that it is
// ready, or nil. A program that does not have to say so passes if it is still
// running after the grace period, or has exited with 0: it may take a connection
// that is none for one that is over already.
func probeError(spec *service.Spec, err error, status unix.WaitStatus) error {
	switch {
	case errors.Is(err, errNoReady) && spec.ReadyOptional():
		return nil
	case !errors.Is(err, errChannelClosed):
		return err
	case status.Signaled():
		return fmt.Errorf("it was ended by %s", unix.SignalName(status.Signal()))
	case spec.ReadyOptional() && status.ExitStatus() == ipc.ExitOK:
		return nil
	}
	return fmt.Errorf("it exited with %d (%s)", status.ExitStatus(), ipc.ExitName(status.ExitStatus()))
}

// probeGracePeriod is how long a program that does not have to say that it is
// ready has to fail.
const probeGracePeriod = time.Second

var (
	errChannelClosed = errors.New("it closed its control channel")
	errNoReady       = errors.New("it does not say that it is ready")
)

// awaitReady waits until a worker says over its control channel that it is ready.
func awaitReady(control int, timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	var message [ipc.MaxMessage]byte
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(control), Events: unix.POLLIN}}, int(max(0, time.Until(deadline).Milliseconds())))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return os.NewSyscallError("poll", err)
		case n == 0:
			return fmt.Errorf("%w within %v", errNoReady, timeout)
		}
		switch t, _, err := ipc.Receive(control, message[:], unix.MSG_DONTWAIT); {
		case err == unix.EAGAIN:
		case err == io.EOF:
			return errChannelClosed
		case err != nil:
			return fmt.Errorf("it does not say in order that it is ready: %w", err)
		case t != ipc.TypeReady:
			return fmt.Errorf("it says %v where it should say that it is ready", t)
		default:
			return nil
		}
	}
}

// awaitProbeExit reaps until a child has ended. Other children that end are
// nobody's workers.
func (m *Master) awaitProbeExit(child *process.Child) (process.Exit, error) {
	timeout := time.NewTimer(killTime)
	defer timeout.Stop()
	for killed := false; ; {
		for exit := range process.Exits() {
			if exit.Pid == child.Pid && child.Reaped() {
				return exit, nil
			}
			m.unknownChild(exit)
		}
		select {
		case <-m.loop.children:
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
