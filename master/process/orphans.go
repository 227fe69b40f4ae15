package process

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// AdoptOrphans makes this process the parent of each descendant whose own
// parent has ended (PR_SET_CHILD_SUBREAPER, prctl(2)). So the master can find,
// stop and reap children of a worker that outlive the worker. Without it only
// pid 1 would know them.
func AdoptOrphans() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become subreaper: %w", err)
	}
	return nil
}

// Orphans returns the pids of children of this process that a worker has left
// behind. Such a child is not registered, its process group is not the
// master's, and its session is the master's. A process with a session of its
// own has become a daemon deliberately. A process in the master's group is
// older than the master: the shell that became the master has started it.
//
// Orphans reads all of /proc, so it is for the end of a drain and not for the
// path of a connection. The pids stay valid until the caller reaps them.
func Orphans(registered func(pid int) bool) []int {
	self, session, group := os.Getpid(), sessionOf(0), unix.Getpgrp()
	proc, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1)
	var orphans []int
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || registered(pid) {
			continue
		}
		text, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue // it has ended
		}
		s, ok := parseStat(text)
		if ok && s.parent == self && s.session == session && s.group != group {
			orphans = append(orphans, pid)
		}
	}
	return orphans
}

func sessionOf(pid int) int {
	sid, err := unix.Getsid(pid)
	if err != nil {
		return -1
	}
	return sid
}
