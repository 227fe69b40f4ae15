package osthread

import (
	"fmt"
	"os"
	"slices"
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

// meaningless are the signals that say nothing to a program of Go, which has handlers for
// them that do nothing. Before it has, they would end it (signal(7)).
var meaningless = []unix.Signal{
	unix.SIGPIPE, unix.SIGALRM, unix.SIGVTALRM, unix.SIGPROF, unix.SIGIO, unix.SIGPWR, unix.SIGXCPU, unix.SIGXFSZ,
}

// ignoreAtStart has this process, and a program that it executes, ignore these until they
// are caught. restore gives them back the handlers that they had.
func ignoreAtStart() (restore func()) {
	before := map[unix.Signal]SignalAction{}
	for _, sig := range slices.Concat(deadly, meaningless) {
		before[sig], _ = SetSignalAction(sig, &SignalAction{handler: ignoreSignal}) // it fails for bad numbers only
	}
	return func() {
		for sig, old := range before {
			_, _ = SetSignalAction(sig, &old)
		}
	}
}

// SetDefaultAction gives a signal its default action, also where os/signal does not
// handle it.
func SetDefaultAction(sig unix.Signal) error {
	if _, err := SetSignalAction(sig, &SignalAction{}); err != nil {
		return fmt.Errorf("set signal %d to its default: %w", sig, err)
	}
	return nil
}

// ignoreSignal is SIG_IGN.
const ignoreSignal = 1

// A SignalAction is struct sigaction as the kernel defines it, which is not as the C
// library does (struct sigaction in include/linux/signal_types.h). Zero is SIG_DFL.
type SignalAction struct {
	handler, flags, restorer uintptr
	mask                     uint64
}

// NewSignalAction returns the action of a handler: its address, the flags (SA_ in
// sigaction(2)), the address of what it returns to, and which signals are blocked in it.
func NewSignalAction(handler, flags, restorer uintptr, mask uint64) *SignalAction {
	return &SignalAction{handler, flags, restorer, mask}
}

// SetSignalAction changes what a signal does to this process, and returns what it did
// before (rt_sigaction(2)). It goes past Go's runtime, which knows nothing of it.
func SetSignalAction(sig unix.Signal, action *SignalAction) (old SignalAction, err error) {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(action)),
		uintptr(unsafe.Pointer(&old)), unsafe.Sizeof(old.mask), 0, 0)
	if errno != 0 {
		return old, os.NewSyscallError("rt_sigaction", errno)
	}
	return old, nil
}
