package status

import (
	"cmp"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
)

// A Master is what a status tells of the master beside the loop's knowledge.
type Master struct {
	Started time.Time
	Config  string          // the file, "" if the configuration came from none
	Logger  *logging.Logger // its level, and the lines that it has lost
}

// Complete makes a status of a view: it asks the kernel about sockets and
// processes, which takes time, and says what is wrong. It is called once for a
// view, and not on the loop.
func (v *View) Complete(m Master) control.Status {
	v.addSockets()
	v.addMaster(m)
	v.status.Master.Problems = v.problems(m.Logger.Lost())
	v.addProcesses()
	return v.status
}

// addProcesses fills in what the processes of connections use, and sorts the
// connections by age.
func (v *View) addProcesses() {
	connections := v.status.Connections
	buf := make([]byte, 1024)
	for i := range connections {
		c := &connections[i]
		c.Age = v.status.Taken.Sub(c.Since).Seconds()
		if used, ok := process.UsageOf(c.PID, buf); ok {
			cpu := used.CPU.Seconds()
			c.CPU, c.RSS = &cpu, &used.RSS
		}
	}
	// By the time that is shown: time.Now reads the clock of the day and the
	// monotonic one after each other, and with two of them their orders differ.
	slices.SortFunc(connections, func(a, b control.Connection) int {
		return cmp.Or(cmp.Compare(a.Since.UnixNano(), b.Since.UnixNano()), cmp.Compare(len(a.ID), len(b.ID)), cmp.Compare(a.ID, b.ID))
	})
}

// addMaster fills in what the master is and uses.
func (v *View) addMaster(m Master) {
	to := &v.status.Master
	to.Version, to.PID, to.Started, to.Config = ipc.Version, os.Getpid(), m.Started, m.Config
	to.Uptime = time.Since(m.Started).Seconds()
	to.LogLevel = m.Logger.Level.String()
	var usage unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &usage) == nil {
		to.UserTime = time.Duration(usage.Utime.Nano()).Seconds()
		to.SysTime = time.Duration(usage.Stime.Nano()).Seconds()
	}
	to.RSS = process.OwnRSS()
	if open, err := os.ReadDir("/proc/self/fd"); err == nil {
		to.OpenFiles = len(open) - 1 // without the one that reads them
	}
}
