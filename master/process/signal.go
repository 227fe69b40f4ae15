package process

import (
	"bytes"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// SignalGroup signals the process group that a worker leads, and the worker
// itself if it has gone over to another group: nothing keeps a leader from
// joining any group of its session (setpgid(2)), and its own may be empty then.
// The worker must not have been reaped yet.
func SignalGroup(leader int, sig unix.Signal) error {
	err := unix.Kill(-leader, sig)
	if group, groupErr := unix.Getpgid(leader); groupErr == nil && group != leader {
		err = unix.Kill(leader, sig)
	}
	return err
}

// InheritDefaults makes children start with every signal at its default and
// none blocked, whatever this process inherited: nohup ignores SIGHUP, shells
// ignore SIGINT for background jobs, supervisors ignore SIGPIPE, and all of
// that would go through exec to programs that count on the defaults.
//
// A signal that is ignored stays without effect on this process. A blocked
// mask is cleared by executing this program once more, which keeps its pid and
// its descriptors; that is why this belongs before anything else that a master does.
func InheritDefaults() error {
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return fmt.Errorf("read signal dispositions: %w", err)
	}
	if signalSet(status, "SigBlk") != 0 {
		return clearMask()
	}
	// Exec resets a signal that has a handler and keeps one that is ignored
	// (execve(2)), so each ignored one gets a handler that does nothing. Go
	// has done so by now for all but a few, SIGHUP, SIGINT and SIGTSTP among
	// them.
	var ignored []os.Signal
	set := signalSet(status, "SigIgn")
	for n := 1; n <= 64; n++ {
		switch {
		case set&(1<<(n-1)) == 0:
		case n == 32 || n == 33:
			if err := setDefault(n); err != nil {
				return err
			}
		default:
			ignored = append(ignored, syscall.Signal(n))
		}
	}
	if len(ignored) > 0 {
		signal.Notify(make(chan os.Signal, 1), ignored...) // once it is full, os/signal drops the rest
	}
	return nil
}

// setDefault gives a signal its default action. It is for 32 and 33, which the
// C library keeps to itself and which neither Go nor anybody else sends: what
// glibc's posix_spawn(3) has started, make's commands for instance, finds them
// ignored, and os/signal does not touch them.
func setDefault(sig int) error {
	var action struct { // the kernel's; zero is SIG_DFL
		handler, flags, restorer uintptr
		mask                     uint64
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig),
		uintptr(unsafe.Pointer(&action)), 0, unsafe.Sizeof(action.mask), 0, 0)
	if errno != 0 {
		return fmt.Errorf("set signal %d to its default: %w", sig, errno)
	}
	return nil
}

// signalSet returns a line of a status file, a set of signals in hexadecimal
// whose lowest bit is signal 1 (proc_pid_status(5)). A line that is not there
// gives the empty set.
func signalSet(status []byte, name string) uint64 {
	_, rest, _ := bytes.Cut(status, []byte("\n"+name+":\t"))
	value, _, _ := bytes.Cut(rest, []byte("\n"))
	set, err := strconv.ParseUint(string(value), 16, 64)
	if err != nil {
		return 0
	}
	return set
}

// clearMask starts this program again with no signal blocked. Go gives every
// thread, and so every child, the mask that the first thread was born with;
// only a new birth changes it. It returns only on failure.
func clearMask() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &unix.Sigset_t{}, nil); err != nil {
		return fmt.Errorf("unblock signals: %w", err)
	}
	self, err := os.Executable()
	if err == nil {
		err = unix.Exec(self, os.Args, os.Environ())
	}
	return fmt.Errorf("start again with no signal blocked: %w", err)
}
