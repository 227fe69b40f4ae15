package counts

import (
	"fmt"
	"os/exec"
	"runtime"
)

// Conditions are what may differ between two counts of one build.
type Conditions struct {
	About  string
	Procs  int      // GOMAXPROCS of the master; 0 means 2
	Hogs   int      // programs that do nothing but compute, beside it
	Prefix []string // a command that starts the command, such as taskset
}

// Varied returns the conditions under which limits are found: two runs alone,
// and what else a machine may be like.
func Varied() []Conditions {
	busy := runtime.NumCPU()
	return []Conditions{
		{About: "alone"},
		{About: "alone, again"},
		{About: "beside programs that compute", Hogs: busy},
		{About: "beside twice as many", Hogs: 2 * busy},
		{About: "on a single processor", Prefix: onOneProcessor},
	}
}

// onOneProcessor starts a command on the first processor that it may use:
// taskset(1) is in util-linux, which Debian always has.
var onOneProcessor = []string{"sh", "-c", `exec taskset -c "$(taskset -pc $$ | sed 's/.*: *//; s/[,-].*//')" "$@"`, "sh"}

// startHogs starts programs that do nothing but compute. The caller calls
// stop, also after an error.
func (b *Bench) startHogs(n int) (stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, f := range stops {
			f()
		}
	}
	for range n {
		cmd := exec.Command("/bin/sh", "-c", "while :; do :; done")
		if err := b.Children.Start(cmd); err != nil {
			return stop, fmt.Errorf("start a program that computes: %w", err)
		}
		stops = append(stops, func() {
			cmd.Process.Kill()
			b.Children.Wait(cmd)
		})
	}
	return stop, nil
}
