package process

import (
	"iter"

	"golang.org/x/sys/unix"
)

// An Exit is the end of a child: its pid, how it ended, and what it used. The
// pid may be used again by the time the exit is seen.
type Exit struct {
	Pid    int
	Status unix.WaitStatus
	Usage  unix.Rusage
}

// Exits reaps every child that has ended and yields each one once. It does not
// wait, and it ends when no ended child is left.
//
// SIGCHLD is not queued: however many children end while one is pending, it is
// delivered once (signal(7)). So a signal says only that there is something to
// reap, and the loop goes on until wait4 says that there is nothing more.
// Children nobody registered are among them: those of failed execs, and as
// pid 1 or as a subreaper, orphans.
func Exits() iter.Seq[Exit] { return exits(unix.Wait4) }

type wait4 func(pid int, status *unix.WaitStatus, options int, usage *unix.Rusage) (int, error)

func exits(wait wait4) iter.Seq[Exit] {
	return func(yield func(Exit) bool) {
		for {
			var e Exit
			pid, err := wait(-1, &e.Status, unix.WNOHANG, &e.Usage)
			if err == unix.EINTR {
				continue
			}
			// 0: children live, none has ended. ECHILD: there are none.
			if err != nil || pid == 0 {
				return
			}
			e.Pid = pid
			if !yield(e) {
				return
			}
		}
	}
}

// ExitOf reaps one child if it has ended. The kernel finds it by its pid,
// however many others there are.
func ExitOf(pid int) (Exit, bool) {
	for {
		var e Exit
		found, err := unix.Wait4(pid, &e.Status, unix.WNOHANG, &e.Usage)
		if err == unix.EINTR {
			continue
		}
		e.Pid = pid
		return e, err == nil && found == pid
	}
}
