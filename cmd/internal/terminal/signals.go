package terminal

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// catchSignals starts to catch the signals that need some work before the program ends.
// A signal that was ignored from the start, as with nohup, stays ignored.
//
// SIGPIPE is caught so that a write to stdout fails instead of ending the program. The
// terminal must be restored first.
func (r *receiver) catchSignals() {
	signals := make(chan os.Signal, 8)
	for _, s := range []syscall.Signal{
		unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT,
		unix.SIGPIPE, unix.SIGTSTP, unix.SIGCONT, unix.SIGWINCH,
	} {
		if !signal.Ignored(s) {
			signal.Notify(signals, s)
		}
	}
	go func() {
		for s := range signals {
			if endsProgram(s) {
				time.AfterFunc(forceExitAfter, func() { r.forceExit(s.(syscall.Signal)) })
			}
			r.signals <- s
		}
	}()
}

// forceExitAfter is the time after which an exit by a signal is forced. The loop may be
// blocked in a write, because a terminal is stopped or a pipe is full.
const forceExitAfter = time.Second

// forceExit ends the program without the loop.
func (r *receiver) forceExit(s syscall.Signal) {
	r.restoreTerminal()
	r.sender.cmd.Process.Kill()
	(&SignalError{s}).ExitBySignal()
}

func endsProgram(s os.Signal) bool {
	return s == unix.SIGINT || s == unix.SIGTERM || s == unix.SIGHUP || s == unix.SIGQUIT
}

// handleSignal handles one signal.
func (r *receiver) handleSignal(s os.Signal) error {
	switch s {
	case unix.SIGTSTP:
		return r.suspend()
	case unix.SIGCONT:
		return r.resume()
	case unix.SIGWINCH:
		if r.screen != nil {
			return r.screen.resized()
		}
	}
	if endsProgram(s) {
		return &SignalError{s.(syscall.Signal)}
	}
	// The remaining signal is SIGPIPE. The failed write reports it itself.
	return nil
}

// suspend handles Ctrl-Z. The shell must find the terminal in its original state.
func (r *receiver) suspend() error {
	if r.screen != nil {
		if err := r.screen.suspend(); err != nil {
			return err
		}
	}
	if r.tty != nil {
		r.tty.restore(stdin)
	}
	stopProcess()
	return r.resume()
}

// stopProcess stops the process until another program continues it. In an orphaned
// process group, where no program could, it has no effect.
//
// Go never gives a caught signal its default action again. SIGTTIN is never caught, and
// its default action is the same as that of SIGTSTP. A signal to the own thread is
// delivered before the system call returns.
func stopProcess() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	unix.Tgkill(unix.Getpid(), unix.Gettid(), unix.SIGTTIN)
}

// resume prepares the terminal for editing, at first and after every stop. It does
// nothing in the background. There the process stops when the sender reads the
// keyboard, and resume runs again afterwards.
func (r *receiver) resume() error {
	if r.tty == nil || !r.ready || r.peerClosed || r.senderReaped || inBackground(stdin) {
		return nil
	}
	if err := r.tty.enterEditing(stdin); err != nil {
		return fmt.Errorf("prepare the terminal: %w", err)
	}
	return r.screen.resume()
}

// ExitBySignal ends this process with the signal that ended the session, as if the
// signal had never been caught.
func (e *SignalError) ExitBySignal() {
	signal.Reset(e.Signal)
	switch e.Signal {
	case unix.SIGPIPE:
		// Go's runtime ends with SIGPIPE only at a write to a broken stdout.
		os.Stdout.Write([]byte{0})
	case unix.SIGQUIT:
		// Go's runtime would print the stacks of all goroutines.
	default:
		unix.Kill(os.Getpid(), e.Signal)
		select {} // another thread may get the signal
	}
	os.Exit(128 + int(e.Signal))
}
