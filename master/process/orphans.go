package process

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// AdoptOrphans makes this process the parent of its descendants whose own
// parent has ended (PR_SET_CHILD_SUBREAPER, prctl(2)). A worker's children that
// outlive it can then be found, stopped and reaped, where otherwise only pid 1
// would know them.
func AdoptOrphans() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become subreaper: %w", err)
	}
	return nil
}

// Orphans returns the pids of this process's children that a worker left
// behind: not registered, in a process group other than the master's, and in
// the master's session still. One that made a session of its own has
// deliberately become a daemon, and one in the master's group was there before
// the master was, started by the shell that became it.
//
// It reads all of /proc, so it is for the end of a drain and not for the path
// of a connection. The pids are the master's own unreaped children and stay
// valid until it reaps them.
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
		stat, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue // it has ended
		}
		s, ok := parseStat(stat)
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

type stat struct{ parent, group, session int }

// parseStat reads the fields 4 to 6 of a stat file (proc_pid_stat(5)). The
// second field is the program's name in parentheses and may hold anything,
// parentheses and spaces included, so the fields are counted from its end.
func parseStat(text []byte) (s stat, ok bool) {
	end := bytes.LastIndexByte(text, ')')
	if end < 0 {
		return stat{}, false
	}
	fields := bytes.Fields(text[end+1:])
	if len(fields) < 4 {
		return stat{}, false
	}
	for i, field := range []*int{&s.parent, &s.group, &s.session} {
		n, err := strconv.Atoi(string(fields[i+1]))
		if err != nil {
			return stat{}, false
		}
		*field = n
	}
	return s, true
}
