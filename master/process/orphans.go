package process

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// BecomeSubreaper makes this process the parent of each descendant whose own
// parent has ended (PR_SET_CHILD_SUBREAPER, prctl(2)). So the master can find,
// stop and reap children of a worker that outlive the worker. Without it only
// pid 1 would know them.
func BecomeSubreaper() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become subreaper: %w", err)
	}
	return nil
}

// Orphans returns the pids of children of this process that a worker has left
// behind: they are still in the session that the worker has led, whatever their
// process group is. A process that has made a session of its own, and what is in
// that session, has become a daemon deliberately. A process in the master's
// session is older than the master: the shell that became the master has started
// it.
//
// isWorker reports whether a pid is that of a worker that is not reaped yet. A
// worker is no orphan. ledByWorker reports whether the last worker with a
// number has led the session of that number.
//
// Orphans reads all of /proc, so it is for the end of a drain and not for the
// path of a connection. The pids stay valid until the caller reaps them.
func Orphans(isWorker, ledByWorker func(pid int) bool) []int {
	self := os.Getpid()
	proc, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1)
	var orphans []int
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || isWorker(pid) {
			continue
		}
		text, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue // it has ended
		}
		s, ok := parseStat(text)
		if !ok || s.parent != self || !ledByWorker(s.session) {
			continue
		}
		// A living leader that is no worker leads a later session, whose number
		// was a worker's before.
		if isWorker(s.session) || unix.Kill(s.session, 0) == unix.ESRCH {
			orphans = append(orphans, pid)
		}
	}
	return orphans
}
