//go:build amd64 || arm64

package signals

import (
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An action is the disposition of a signal as the kernel defines it, which is not as the C
// library does (struct sigaction in include/linux/signal_types.h).
type action struct {
	handler, flags, restorer uintptr
	mask                     uint64
}

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
type dispositions map[unix.Signal]action

// setAction sets the disposition of a signal and returns the one before.
func setAction(sig unix.Signal, to *action) (before action, err error) {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(to)), uintptr(unsafe.Pointer(&before)),
		unsafe.Sizeof(to.mask), 0, 0)
	if errno != 0 {
		err = os.NewSyscallError("rt_sigaction", errno)
	}
	return before, err
}

// sticky returns the disposition that has the handler, which no signal interrupts.
func sticky() *action {
	a := &action{handler: stickyHandler(), flags: saSiginfo | saOnStack | saRestart, restorer: stickyRestorer(), mask: ^uint64(0)}
	if a.restorer != 0 {
		a.flags |= saRestorer
	}
	return a
}

// stick has every thread block the held signals when it gets one. It returns the
// dispositions before, also on error.
func stick() (before dispositions, err error) {
	before = dispositions{}
	set := maskOf(held)
	stickyMasks = [2]uint64{set.Val[0], 0}
	for _, sig := range held {
		old, err := setAction(sig, sticky())
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
	if _, err := setAction(touch, sticky()); err != nil {
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
		_, _ = setAction(sig, &old) // it was its disposition
	}
	spread()
}

// ignore has signals ignored. Those that a thread blocks may still become pending. It
// returns the dispositions before.
func ignore(signals []unix.Signal) (before dispositions) {
	before = dispositions{}
	for _, sig := range signals {
		before[sig], _ = setAction(sig, &action{handler: sigIgn}) // it had another one before
	}
	return before
}

// unignore gives signals their dispositions back.
func unignore(before dispositions) {
	for sig, old := range before {
		_, _ = setAction(sig, &old) // it was its disposition
	}
}

// sigIgn is SIG_IGN.
const sigIgn = 1

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
