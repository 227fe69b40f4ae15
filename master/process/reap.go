package process

import "golang.org/x/sys/unix"

// An Exit says how a child has ended and what it has used. By the time the
// caller sees the Exit, another process may have the pid.
type Exit struct {
	Pid    int
	Status unix.WaitStatus
	Usage  unix.Rusage
}

// AnyChild makes Wait reap whichever child has ended.
const AnyChild = -1

// Wait reaps one child if it has ended: the one with that pid, which the kernel
// finds at once, or AnyChild, for which the kernel looks at all of them. It does
// not wait. It reports false when there is none.
//
// SIGCHLD is not queued. When several children end while one signal is pending,
// it is delivered once (signal(7)). So the signal says only that there is
// something to reap, and the caller repeats Wait until there is nothing more.
// Some of these children nobody has registered: those whose exec has failed,
// and orphans, if the master is pid 1 or a subreaper.
func Wait(pid int) (Exit, bool) { return wait(unix.Wait4, pid) }

type wait4 func(pid int, status *unix.WaitStatus, options int, usage *unix.Rusage) (int, error)

func wait(wait4 wait4, pid int) (e Exit, ok bool) {
	for {
		found, err := wait4(pid, &e.Status, unix.WNOHANG, &e.Usage)
		if err == unix.EINTR {
			continue
		}
		// 0: there are such children, and none has ended. ECHILD: there are
		// none.
		e.Pid = found
		return e, err == nil && found > 0
	}
}
