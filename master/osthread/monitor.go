package osthread

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// monitorSlack is by how much the naps of the monitor may be longer. When all processors
// of Go are in system calls that wait, nobody but the monitor gives one to a goroutine
// that could run, and so that waits for a nap: 2 ms here made the p90 of connections,
// with two such calls at two processors, five times as long.
const monitorSlack = 200 * time.Microsecond

// usualSlack is what the threads have that are no children of a relaxed monitor, in ns; 0
// until TakeSlack or RelaxMonitor, and where these leave the slack of this program alone.
var usualSlack atomic.Int64

// RelaxMonitor lets the thread of Go's runtime that watches the others (sysmon) nap for
// longer. After each wake-up of the process it naps for 20 µs some fifty times, and each
// nap costs a timer interrupt and two context switches: with a connection every
// millisecond that is a quarter of what a master does. The monitor starts no processes,
// but threads, when others are in system calls that wait, and these and what they start
// inherit its timer slack (PR_SET_TIMERSLACK, prctl(2)). So what Start returns gets back
// what is usual, and so does what StartUsual starts. Threads that a program will need
// should be there before.
//
// It takes CAP_SYS_NICE to change another thread's (proc_pid_timerslack_ns(5)). The error
// says why it stays as it was. ExecRelaxed and StartRelaxed do without. Who started this
// program with a slack of as much, or with none (a real-time policy), has decided, and
// nothing changes.
func RelaxMonitor() error {
	tid, err := monitor()
	if err != nil {
		return err
	}
	if usualSlack.Load() == 0 {
		usual, err := slackToRelax()
		if usual == 0 {
			return err
		}
		usualSlack.Store(usual)
	}
	return os.WriteFile(slackFile(tid), fmt.Append(nil, monitorSlack.Nanoseconds()), 0)
}

// slackToRelax returns the timer slack of the calling thread, in ns, and 0 if that is to
// stay as it is, for all threads. Nobody has changed it for this thread alone.
func slackToRelax() (int64, error) {
	// The file of /proc would tell of another thread only with the capability.
	slack, err := ownSlack()
	if err != nil || slack >= monitorSlack.Nanoseconds() {
		return 0, err
	}
	return slack, nil
}

// ownSlack returns the timer slack of the calling thread, in ns.
func ownSlack() (int64, error) {
	slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	return int64(slack), os.NewSyscallError("prctl", err)
}

// slackFile returns the file that has the timer slack of a thread.
func slackFile(tid int) string { return fmt.Sprintf("/proc/%d/timerslack_ns", tid) }

// StartUsual calls start, which starts a process on its thread. That process has the usual
// timer slack, whoever has started the thread, and no signal blocked. It returns what start
// returns.
func StartUsual(start func() error) error {
	usual := usualSlack.Load()
	if usual == 0 {
		return startUnblocked(start)
	}
	return startWith(usual, usual, start)
}

// StartWith is StartUsual for a process that has a timer slack of its own, which must be
// more than nothing.
func StartWith(slack time.Duration, start func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	after := usualSlack.Load()
	if after == 0 {
		after, _ = ownSlack() // if that fails, 0 is what the thread was started with
	}
	return startWith(slack.Nanoseconds(), after, start)
}

// StartRelaxed is StartUsual for a process of Go that starts no other. All of its threads
// have the slack of a relaxed monitor. The monitor can only inherit it, from the main
// thread and before main begins, because most workers may not change another thread's
// (CAP_SYS_NICE). The other threads wait for a client, and their timers are a fifth of a
// millisecond late at most; the monitor saves an eighth of the worker's CPU time.
//
// It is not for programs that may start others. There, any thread may be the one that
// forks, and may have been started by the monitor.
func StartRelaxed(start func() error) error {
	usual := usualSlack.Load()
	if usual == 0 {
		return startUnblocked(start)
	}
	return startWith(monitorSlack.Nanoseconds(), usual, start)
}

// startWith calls start on a thread with a timer slack, and gives the thread another one
// afterwards. Both are in ns.
func startWith(slack, after int64, start func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	setSlack(slack)
	if after != slack {
		defer setSlack(after)
	}
	return startUnblocked(start)
}

// startUnblocked calls start on a thread that blocks no signal.
func startUnblocked(start func() error) error {
	if !executedBlocked {
		return start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	unblockSignals()
	return start()
}

// setSlack gives the calling thread a timer slack in ns. The kernel refuses no value. A
// filter of system calls may: then the thread keeps what it has, which costs some
// precision and no more. It does not wait, so Go need not be ready for that.
func setSlack(slack int64) {
	_, _, _ = unix.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_TIMERSLACK, uintptr(slack), 0)
}

// resetSlack gives the calling thread the usual timer slack.
func resetSlack() {
	if usual := usualSlack.Load(); usual != 0 {
		setSlack(usual)
	}
}

// monitor returns the thread id of the monitor. The runtime starts it before anything of
// the program runs (runtime.main in runtime/proc.go), so it is the second thread of a
// process without C. The kernel lists threads in the order in which they were made.
func monitor() (tid int, err error) {
	list, err := os.Open("/proc/self/task")
	if err != nil {
		return 0, err
	}
	defer list.Close()
	names, err := list.Readdirnames(2)
	if err != nil {
		return 0, err
	}
	if len(names) < 2 {
		return 0, errors.New("this process has one thread")
	}
	return strconv.Atoi(names[1])
}
