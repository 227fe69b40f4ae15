package osthread

import "golang.org/x/sys/unix"

// executedBlocked says that this program was executed with signals blocked. Go gives every
// thread that mask but for the few that it needs, and children the mask of the thread that
// forks them (runtime.BeforeFork), which an exec keeps. So whatever starts a process here
// unblocks the signals first. The thread may take signals from then on, as the threads of
// other Go programs do, so the signals that count must be caught before.
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
