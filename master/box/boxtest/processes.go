package boxtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/ipc/needtest"
)

// Children returns the children of this process, those that are zombies, too. It skips a
// test where the kernel does not tell.
func Children(t testing.TB) (pids []int) {
	t.Helper()
	paths, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(paths) == 0 {
		needtest.Skip(t, "needs /proc/PID/task/TID/children (CONFIG_PROC_CHILDREN)")
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended
		}
		for word := range strings.FieldsSeq(string(text)) {
			pid, err := strconv.Atoi(word)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// IsZombie reports whether a process has ended and is not reaped.
func IsZombie(pid int) bool { return isOver(state(pid)) }

// Ended reports whether a process has ended, whether it is reaped or not.
func Ended(pid int) bool {
	s := state(pid)
	return s == "" || isOver(s)
}

// isOver reports whether a state is that of a process that has ended (proc_pid_stat(5)).
func isOver(state string) bool { return state == "Z" || state == "X" }

// state returns the state of a process in one letter, "" if there is no process.
func state(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The name of the program comes first, in parentheses, and may contain some.
	at := strings.LastIndex(string(stat), ") ")
	letter, _, _ := strings.Cut(string(stat)[at+2:], " ")
	return letter
}
