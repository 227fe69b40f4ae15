package systemdtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// workers returns the children of the master, by the pids of this process.
func (s *service) workers(t *testing.T) []int {
	t.Helper()
	var pids []int
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", s.mainPID(t)))
	for _, file := range files {
		data, _ := os.ReadFile(file)
		for _, field := range strings.Fields(string(data)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// onlyWorker returns the pid of the only worker.
func (s *service) onlyWorker(t *testing.T) int {
	t.Helper()
	var pids []int
	until(t, "there is one worker", func() bool {
		pids = s.workers(t)
		return len(pids) == 1
	}, func() string { return fmt.Sprint(pids) })
	return pids[0]
}

func (s *service) workerStatus(t *testing.T, pid int) string {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	return string(status)
}

// alive reports whether there is such a process, and not only what is left of
// one that has ended.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}
