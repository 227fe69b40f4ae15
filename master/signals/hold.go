package signals

import (
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/signals/early"
)

// A program that takes over in the same process is to lose no signal. Until it is executed,
// the kernel keeps those that every thread blocks. Go cannot block signals in all threads:
// it changes other threads in a handler, whose end restores the mask (sigreturn(2)). So
// each thread does it when it gets one: while signals are held, they have a handler that
// blocks them in the thread that it returns to, and sends the signal to the process again.
// In the end none is left that would take it.
//
// What is pending stays so over an exec, and so does the mask (execve(2)). But in the new
// program Go unblocks SIGTERM, SIGQUIT, SIGINT and SIGHUP before it has handlers for them.
// So those that have come go over in the environment. From the exec to the first package of
// the program, which is early, it takes a few milliseconds. In these
//
//   - SIGUSR1, SIGUSR2 and SIGCHLD stay pending
//   - SIGHUP, SIGINT and what a program in Go ignores anyhow is ignored
//     (osthread.ExecFile). The configuration is going to be read
//   - SIGTERM and SIGQUIT are lost before Go's runtime is up, and end the process at once
//     from then on

// held are the signals that Hold holds: those that Catch catches, and SIGCHLD.
var held = append([]unix.Signal{unix.SIGCHLD}, caught...)

// Held are the signals of a master that is about to execute another program.
type Held struct {
	queue   *Queue
	ownMask unix.Sigset_t // of the thread
	before  dispositions
	taken   []unix.Signal
}

// Hold leaves the signals of a master with the kernel from now on. The calling thread,
// which is to execute the program, must be locked (runtime.LockOSThread). Nobody may take
// signals of the queue until Release, which the caller calls if no program is executed.
func (q *Queue) Hold() (*Held, error) {
	h := &Held{queue: q}
	set := maskOf(held)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &set, &h.ownMask); err != nil {
		return nil, fmt.Errorf("hold signals: %w", err)
	}
	var err error
	if h.before, err = stick(); err != nil {
		h.Release()
		return nil, fmt.Errorf("hold signals: %w", err)
	}
	awaitHandlers()
	h.taken = q.takeAll()
	// A thread that is ended by the exec between its handler's beginning and end would
	// lose the signal. So there should be none that gets one.
	spread()
	awaitHandlers()
	return h, nil
}

// Environment returns a variable for the environment of the program. It has the signals
// that have come, so it is called last of all, on the thread that executes the program.
// Catch takes it.
func (h *Held) Environment() string {
	for sig := takePending(caught); sig != 0; sig = takePending(caught) {
		h.taken = add(h.taken, sig)
	}
	var numbers []string
	for _, sig := range h.taken {
		numbers = append(numbers, strconv.Itoa(int(sig)))
	}
	return early.EnvSignals + "=" + strings.Join(numbers, ",")
}

// Release has the queue catch signals again, those that have come meanwhile among them. It
// is called on the thread that has called Hold.
func (h *Held) Release() {
	unstick(h.before)
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &h.ownMask, nil) // it was its mask
	// The thread of os/signal unblocks what it catches whenever that changes.
	awaitDelivery()
	for _, sig := range h.taken {
		h.queue.caught <- sig
	}
}

// inherited returns the signals that came for this program before it was executed.
func inherited() (signals []unix.Signal) {
	numbers := os.Getenv(early.EnvSignals)
	os.Unsetenv(early.EnvSignals)
	for number := range strings.SplitSeq(numbers, ",") {
		if n, err := strconv.Atoi(number); err == nil && slices.Contains(caught, unix.Signal(n)) {
			signals = add(signals, unix.Signal(n))
		}
	}
	return signals
}

// takeAll empties the queue, also of signals that are still on their way.
func (q *Queue) takeAll() []unix.Signal {
	awaitDelivery()
	taken := make(chan []unix.Signal)
	q.all <- taken
	return <-taken
}

// awaitDelivery waits until os/signal has passed on every signal that a handler has
// taken: Stop does that, whatever it stops.
func awaitDelivery() {
	idle := make(chan os.Signal, 1)
	signal.Notify(idle, unix.SIGWINCH)
	signal.Stop(idle)
}

// awaitHandlers waits until no thread is in a handler of Go's. A handler blocks all
// signals, and a thread does this call in one, too. Go cannot do that with cgo. It reports
// false then, and an instant is left in which a signal may be lost.
func awaitHandlers() bool {
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_GETPID, 0, 0, 0)
	return errno == 0
}

// maskOf returns the set of signals.
func maskOf(signals []unix.Signal) (set unix.Sigset_t) {
	for _, sig := range signals {
		set.Val[(sig-1)/wordBits] |= 1 << ((sig - 1) % wordBits)
	}
	return set
}

// wordBits is how many signals a word of a set has.
const wordBits = 8 * unix.SizeofPtr
