package osthread

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
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
// until RelaxMonitor.
var usualSlack atomic.Int64

// RelaxMonitor lets the thread of Go's runtime that watches the others (sysmon) nap for
// longer. After each wake-up of the process it naps for 20 µs some fifty times, and each
// nap costs a timer interrupt and two context switches: with a connection every
// millisecond that is a quarter of what a master does. The monitor starts no processes,
// but threads, when others are in system calls that wait, and these and what they start
// inherit its timer slack (PR_SET_TIMERSLACK, prctl(2)). So what Start returns gets back
// what is usual. Threads that a program will need should be there before.
//
// It takes CAP_SYS_NICE to change another thread's (proc_pid_timerslack_ns(5)). The error
// says why it stays as it was.
func RelaxMonitor() error {
	tid, err := monitor()
	if err != nil {
		return err
	}
	// Nobody starts the main thread.
	usual, err := os.ReadFile("/proc/self/timerslack_ns")
	if err != nil {
		return err
	}
	slack, err := strconv.ParseInt(strings.TrimSpace(string(usual)), 10, 64)
	if err != nil {
		return err
	}
	usualSlack.Store(slack)
	return os.WriteFile(fmt.Sprintf("/proc/%d/timerslack_ns", tid), fmt.Append(nil, monitorSlack.Nanoseconds()), 0)
}

// resetSlack gives the calling thread the usual timer slack.
func resetSlack() error {
	slack := usualSlack.Load()
	if slack == 0 {
		return nil
	}
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0))
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
