package osthread

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// monitorSlack is by how much the naps of the monitor may be longer. It is shorter than
// what the monitor looks for: 10 ms without a poll of the network, and 10 ms of a goroutine
// that does not give its processor up.
const monitorSlack = 2 * time.Millisecond

// RelaxMonitor lets the thread of Go's runtime that watches the others (sysmon) nap for
// longer. After each wake-up of the process it naps for 20 µs some fifty times, and each
// nap costs a timer interrupt and two context switches: with a connection every
// millisecond that is a quarter of what a master does. The thread starts no processes, so
// that nobody inherits its timer slack (PR_SET_TIMERSLACK, prctl(2)).
//
// It takes CAP_SYS_NICE to change another thread's (proc_pid_timerslack_ns(5)). The error
// says why it stays as it was.
func RelaxMonitor() error {
	tid, err := monitor()
	if err != nil {
		return err
	}
	return os.WriteFile(fmt.Sprintf("/proc/%d/timerslack_ns", tid), fmt.Append(nil, monitorSlack.Nanoseconds()), 0)
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
