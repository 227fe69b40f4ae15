package process

import (
	"fmt"
	"math"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/osthread"
)

// This file holds what a master must undo at its start: state that it has
// inherited and that its workers would inherit from it.

// SetCloexecAll sets FD_CLOEXEC on every open descriptor above 2. A shell or
// a supervisor may have started the master with descriptors that lack the flag.
// Every worker would get a copy of them. Descriptors that Go opens have the
// flag already.
func SetCloexecAll() error {
	err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	// Linux before 5.11 does not know the flag, and a sandbox may refuse the
	// system call.
	entries, dirErr := os.ReadDir("/proc/self/fd")
	if dirErr != nil {
		return fmt.Errorf("set FD_CLOEXEC on inherited descriptors: %w", err)
	}
	for _, entry := range entries {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd) // fails for the descriptor of the directory, which is closed by now
		}
	}
	return nil
}

// ResetSignals makes children start with every signal at its default action
// and with no signal blocked, whatever this process has inherited. The command
// nohup ignores SIGHUP, shells ignore SIGINT for background jobs, and
// supervisors ignore SIGPIPE. An exec keeps that, and programs rely on the
// defaults.
//
// A signal that is ignored stays without effect on this process. To clear the
// mask of blocked signals, ResetSignals executes this program again, which
// keeps the pid and the descriptors. So a master must call it before anything
// else.
func ResetSignals() error {
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return fmt.Errorf("read signal dispositions: %w", err)
	}
	if signalSet(status, "SigBlk") != 0 {
		return clearMask()
	}
	// Exec resets a signal that has a handler and keeps a signal that is
	// ignored (execve(2)). So each ignored signal gets a handler that does
	// nothing. The Go runtime has already installed handlers for all signals
	// but a few, among them SIGHUP, SIGINT and SIGTSTP.
	var ignored []os.Signal
	set := signalSet(status, "SigIgn")
	for n := 1; n <= 64; n++ {
		switch {
		case set&(1<<(n-1)) == 0:
		case n == 32 || n == 33:
			// The C library reserves them for itself, and os/signal does not handle them.
			// Programs that glibc's posix_spawn(3) has started, such as the commands of
			// make, find them ignored.
			if err := osthread.SetDefaultAction(unix.Signal(n)); err != nil {
				return err
			}
		default:
			ignored = append(ignored, syscall.Signal(n))
		}
	}
	if len(ignored) > 0 {
		signal.Notify(make(chan os.Signal, 1), ignored...) // when the channel is full, os/signal drops the rest
	}
	return nil
}

// signalSet returns one line of /proc/PID/status: a set of signals in
// hexadecimal, whose lowest bit is signal 1 (proc_pid_status(5)). If the line
// is missing, the set is empty.
func signalSet(status []byte, name string) uint64 {
	set, err := strconv.ParseUint(statusField(status, name), 16, 64)
	if err != nil {
		return 0
	}
	return set
}

// clearMask executes this program again with no signal blocked. Go gives every
// thread, and so every child, the mask that the first thread has started with.
// Only another exec changes that mask. clearMask returns only on failure.
func clearMask() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &unix.Sigset_t{}, nil); err != nil {
		return fmt.Errorf("unblock signals: %w", err)
	}
	return fmt.Errorf("start again with no signal blocked: %w", osthread.ExecAgain(os.Environ()))
}
