package osthread

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// executedBlocked says that this program was executed with signals blocked. Go gives every
// thread that mask but for the signals that it needs, and children the mask of the thread
// that forks them (BeforeFork in runtime/proc.go), which an exec keeps. So whatever starts
// a process here unblocks the signals first. The thread may take signals from then on, as
// the threads of other Go programs do, so those that count must be caught before.
var executedBlocked = signalsBlocked()

// unblockSignals has the calling thread block no signal. It cannot fail.
func unblockSignals() {
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &unix.Sigset_t{}, nil)
}

// signalsBlocked reports whether the calling thread blocks a signal.
func signalsBlocked() bool {
	var blocked unix.Sigset_t
	err := unix.PthreadSigmask(unix.SIG_BLOCK, nil, &blocked)
	return err != nil || blocked != unix.Sigset_t{}
}

// deadly are the signals that would end a program of Go at its start. Whatever is blocked,
// the runtime unblocks them, and only then installs its handlers (minitSignalMask and
// initsig in runtime/signal_unix.go).
var deadly = []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM}

// ignoreDeadly has this process, and a program that it executes, ignore them until they
// are caught. restore gives them back the handlers that they had.
func ignoreDeadly() (restore func()) {
	var before []signalAction
	for _, sig := range deadly {
		old, _ := setAction(sig, &signalAction{handler: ignoreSignal}) // it fails for bad numbers only
		before = append(before, old)
	}
	return func() {
		for i, sig := range deadly {
			_, _ = setAction(sig, &before[i])
		}
	}
}

// SetDefaultAction gives a signal its default action, also where os/signal does not
// handle it.
func SetDefaultAction(sig unix.Signal) error {
	if _, err := setAction(sig, &signalAction{}); err != nil {
		return fmt.Errorf("set signal %d to its default: %w", sig, err)
	}
	return nil
}

// ignoreSignal is SIG_IGN.
const ignoreSignal = 1

// A signalAction is struct sigaction as the kernel defines it. Zero is SIG_DFL.
type signalAction struct {
	handler, flags, restorer uintptr
	mask                     uint64
}

// setAction changes what a signal does to this process (sigaction(2)).
func setAction(sig unix.Signal, action *signalAction) (old signalAction, err error) {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(action)),
		uintptr(unsafe.Pointer(&old)), unsafe.Sizeof(old.mask), 0, 0)
	if errno != 0 {
		return old, errno
	}
	return old, nil
}
