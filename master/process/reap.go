package process

import (
	"iter"

	"golang.org/x/sys/unix"
)

// An Exit says how a child has ended and what it has used. By the time the
// caller sees the Exit, another process may have the pid.
type Exit struct {
	Pid    int
	Status unix.WaitStatus
	Usage  unix.Rusage
}

// Exits reaps every child that has ended, and yields each one once. It does not
// wait. It returns when no ended child is left.
//
// SIGCHLD is not queued. When several children end while one signal is pending,
// it is delivered once (signal(7)). So the signal says only that there is
// something to reap, and Exits repeats wait4 until there is nothing more. Some
// of these children nobody has registered: those whose exec has failed, and
// orphans, if the master is pid 1 or a subreaper.
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
			// 0: there are children, and none has ended. ECHILD: there are
			// none.
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

// ExitOf reaps one child if it has ended. The kernel finds it by its pid, so
// the cost does not grow with the number of children.
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
