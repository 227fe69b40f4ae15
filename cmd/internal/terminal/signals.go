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

// catch starts to receive the signals that need something done first. One that
// was ignored from the start, as nohup has it, stays ignored.
//
// SIGPIPE is among them for a write to stdout to fail, with the terminal still
// in need of order, instead of ending the program.
func (r *receiver) catch() {
	caught := make(chan os.Signal, 8)
	for _, s := range []syscall.Signal{
		unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT,
		unix.SIGPIPE, unix.SIGTSTP, unix.SIGCONT, unix.SIGWINCH,
	} {
		if !signal.Ignored(s) {
			signal.Notify(caught, s)
		}
	}
	go func() {
		for s := range caught {
			if deadly(s) {
				time.AfterFunc(tooLong, func() { r.force(s.(syscall.Signal)) })
			}
			r.signals <- s
		}
	}()
}

// tooLong is how long an end by a signal may take before it is forced. The
// loop may be blocked in a write: a terminal may be stopped, a pipe full.
const tooLong = time.Second

// force ends the program without the loop.
func (r *receiver) force(s syscall.Signal) {
	r.restoreTerminal()
	r.sender.cmd.Process.Kill()
	(&SignalError{s}).Die()
}

func deadly(s os.Signal) bool {
	return s == unix.SIGINT || s == unix.SIGTERM || s == unix.SIGHUP || s == unix.SIGQUIT
}

// signal handles one signal to the receiver.
func (r *receiver) signal(s os.Signal) error {
	switch s {
	case unix.SIGTSTP:
		return r.stop()
	case unix.SIGCONT:
		return r.resume()
	case unix.SIGWINCH:
		if r.screen != nil {
			return r.screen.resized()
		}
	}
	if deadly(s) {
		return &SignalError{s.(syscall.Signal)}
	}
	// What is left is SIGPIPE, and the write that failed says so itself.
	return nil
}

// stop is Ctrl-Z: the shell is to find the terminal as it left it.
func (r *receiver) stop() error {
	if r.screen != nil {
		if err := r.screen.suspend(); err != nil {
			return err
		}
	}
	if r.tty != nil {
		r.tty.restore(stdin)
	}
	stopHere()
	return r.resume()
}

// stopHere stops the process until somebody continues it. In an orphaned
// process group, where nobody could, it does nothing.
//
// Go gives a signal that was caught no default action again, so SIGTTIN, which
// never was, does what SIGTSTP would have. A signal to the own thread is
// delivered before the system call returns.
func stopHere() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	unix.Tgkill(unix.Getpid(), unix.Gettid(), unix.SIGTTIN)
}

// resume takes the terminal, at first and after a stop of any kind, unless the
// program is in the background. There it is stopped when the sender reads the
// keyboard, and comes here again.
func (r *receiver) resume() error {
	if r.tty == nil || !r.ready || r.peerGone || r.senderGone || inBackground(stdin) {
		return nil
	}
	if err := r.tty.edit(stdin); err != nil {
		return fmt.Errorf("prepare the terminal: %w", err)
	}
	return r.screen.resume()
}

// Die ends this process by the signal that ended the session, as if it had
// never been caught.
func (e *SignalError) Die() {
	signal.Reset(e.Signal)
	switch e.Signal {
	case unix.SIGPIPE:
		// Go dies of it at a write to a broken stdout only.
		os.Stdout.Write([]byte{0})
	case unix.SIGQUIT:
		// Go prints the stacks of all goroutines then.
	default:
		unix.Kill(os.Getpid(), e.Signal)
		select {} // it may be another thread that gets the signal
	}
	os.Exit(128 + int(e.Signal))
}
