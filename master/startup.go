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
	"github.com/preforkd/preforkd/master/box"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/spawner"
	"github.com/preforkd/preforkd/master/threads"
	"github.com/preforkd/preforkd/master/workers"
)

// spareThreads is how many threads may wait in a system call beside those that
// run and those that start processes: for the log, the control channels, parked
// descriptors, the sockets of many listeners, the removal of a socket, a reload, a
// look at /proc, and the runtime's own.
const spareThreads = 12

// ReserveThreads makes this process hold all the threads that a master may need,
// whatever its configuration says, or returns an error that says what does not
// allow them. It is called once, before New.
func ReserveThreads() error { return threads.Reserve(neededThreads()) }

// renewThreads is ReserveThreads for a program that has taken over from one that had these
// threads and is no more (package upgrade). Nobody waits for it: a thread takes a tenth of
// a millisecond.
func renewThreads() { threads.Preallocate(neededThreads()) }

func neededThreads() int {
	return spareThreads + runtime.GOMAXPROCS(0) + spawner.Threads() + box.JanitorThreads
}

// begin starts to accept. Where a service manager wants to know when the master
// is ready, a worker has proved before that it starts. begin returns the signal
// that has ended it before, or 0.
func (m *Master) begin() (unix.Signal, error) {
	if m.notify.HasManager() && !m.once.enabled && len(m.services.cfg.Wrap) == 0 {
		if sig, err := m.startupProbe(); sig != 0 || err != nil {
			return sig, err
		}
	}
	m.services.memory.Now() // nobody is served yet who would notice
	listeners := m.endpoints.All()
	for _, s := range m.services.inForce {
		for _, l := range m.endpoints.Of(s.Name) {
			m.acceptor.Start(l)
		}
		m.dispatcher.Fill(s.Spec())
	}
	m.admin.Serve()
	m.endpoints.Store(listeners)
	m.endpoints.Shelve()
	m.notify.Ready()
	if m.upgrades.LastFailure != nil { // it has ended the process before
		m.notify.NotUpgrading()
	}
	m.notifyStatus()
	return 0, nil
}

// failStartup ends a master that could not begin to serve.
func (m *Master) failStartup(err error) (Result, error) {
	m.stopAccepting()
	m.services.closeBoxes()
	m.services.close()
	m.workers.Close()
	m.dispatcher.End()
	m.endLoop()
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
		m.notify.Extend(workers.ReadyTimeout + 2*killTime)
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
	var child *process.Child
	// A file system may keep that waiting. What starts after a signal finds its
	// channel closed, by the end of the master.
	sig, err := m.loop.signals.During(func() (err error) {
		child, err = m.startProbe(spec)
		return err
	})
	if sig != 0 || err != nil {
		return sig, err
	}
	defer child.ReleaseHandle()
	defer unix.Close(child.Control)
	m.workers.NoteLed(child.Pid) // it may leave something behind, as a worker may
	answer := make(chan error, 1)
	timeout := workers.ReadyTimeout
	if spec.ReadyOptional() {
		timeout = probeGracePeriod
	}
	go func() { answer <- awaitReady(child.Control, timeout) }()
	sig, err = m.loop.signals.Await(answer)
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
	if child.Cell != nil {
		child.Cell.Leave(func(process.Remains) {})
	}
	if sig != 0 || err == nil || exitErr != nil {
		return sig, exitErr
	}
	if b := spec.ProcessBox(); b != nil {
		if err := b.Failure(spec.SpareCommand(), &exit); err != nil {
			return 0, err
		}
	}
	return 0, probeError(spec, err, exit.Status)
}

// placePause is how often startProbe tries again.
const placePause = 10 * time.Millisecond

// startProbe starts the worker of a probe. What has tried the box before has the place in
// it that may be the only one until it was reaped, which nobody does before the loop
// runs.
func (m *Master) startProbe(spec *service.Spec) (child *process.Child, err error) {
	for deadline := time.Now().Add(killTime); ; time.Sleep(placePause) {
		child, err = m.dispatcher.StartProbe(spec)
		if !errors.Is(err, process.ErrBoxFull) || time.Now().After(deadline) {
			return child, err
		}
		for exit, ok := process.Wait(process.AnyChild); ok; exit, ok = process.Wait(process.AnyChild) {
			m.reapedBeforeLoop(exit)
		}
	}
}

// reapedBeforeLoop takes in the end of a child that is nobody's worker.
func (m *Master) reapedBeforeLoop(exit process.Exit) {
	if !m.services.boxes.HolderReaped(exit.Pid) {
		m.unknownChild(exit)
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
		for exit, ok := process.Wait(process.AnyChild); ok; exit, ok = process.Wait(process.AnyChild) {
			if exit.Pid == child.Pid && child.Reaped() {
				return exit, nil
			}
			m.reapedBeforeLoop(exit)
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
