//go:build amd64 || arm64

package signals

import (
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/osthread"
)

const (
	saSiginfo  = 0x4
	saRestorer = 0x04000000
	saOnStack  = 0x08000000 // Go's threads have a stack for handlers
	saRestart  = 0x10000000
)

// stickyMasks are what the handler in sticky_*.s does to the mask of the thread that it
// returns to: it blocks the first, and sends the signal to the process again if it is one
// of these, and it unblocks the second. Only stick and unstick change them.
var stickyMasks [2]uint64

// stickyHandler returns the address of the handler.
func stickyHandler() uintptr

// stickyRestorer returns the address of what a handler returns to, 0 where the kernel has
// that.
func stickyRestorer() uintptr

// dispositions are those of signals.
type dispositions map[unix.Signal]osthread.SignalAction

// sticky returns the disposition that has the handler, which no signal interrupts.
func sticky() *osthread.SignalAction {
	flags, restorer := uintptr(saSiginfo|saOnStack|saRestart), stickyRestorer()
	if restorer != 0 {
		flags |= saRestorer
	}
	return osthread.NewSignalAction(stickyHandler(), flags, restorer, ^uint64(0))
}

// stick has every thread block the held signals when it gets one. It returns the
// dispositions before, also on error.
func stick() (before dispositions, err error) {
	before = dispositions{}
	set := maskOf(held)
	stickyMasks = [2]uint64{set.Val[0], 0}
	for _, sig := range held {
		old, err := osthread.SetSignalAction(sig, sticky())
		if err != nil {
			return before, err
		}
		before[sig] = old
	}
	return before, nil
}

// touch is the signal by which a thread gets the new mask when no other comes. Nothing on
// these processors sends it.
const touch = unix.SIGSTKFLT

// spread has all other threads get the new mask in a moment. One that begins later does
// when a signal comes.
func spread() {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	if _, err := osthread.SetSignalAction(touch, sticky()); err != nil {
		return
	}
	for _, t := range threads {
		if tid, err := strconv.Atoi(t.Name()); err == nil && tid != unix.Gettid() {
			_ = unix.Tgkill(os.Getpid(), tid, touch) // it may have ended
		}
	}
}

// unstick gives the held signals their dispositions back, and has all threads unblock
// them. The caller's still blocks them.
func unstick(before dispositions) {
	stickyMasks = [2]uint64{0, stickyMasks[0]}
	for sig, old := range before {
		_, _ = osthread.SetSignalAction(sig, &old) // it was its disposition
	}
	spread()
}

// takePending takes one of some signals that is pending and that the calling thread
// blocks, 0 if none is.
func takePending(signals []unix.Signal) unix.Signal {
	set, at := maskOf(signals), unix.Timespec{}
	for {
		sig, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(&set)), 0, uintptr(unsafe.Pointer(&at)), unsafe.Sizeof(set.Val[0]), 0, 0)
		switch errno {
		case 0:
			return unix.Signal(sig)
		case unix.EINTR:
		default:
			return 0
		}
	}
}
