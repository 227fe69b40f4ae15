package systest

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A Process is a line of the process table.
type Process struct {
	PID, Parent, Group, Session int

	// Terminal is the device number of its controlling terminal, or 0.
	Terminal int

	State byte   // as in proc_pid_stat(5); 'Z' is a zombie
	Name  string // the program's name, cut to 15 bytes

	// Ticks is the CPU time it has used, user and system, in 1/100 s.
	Ticks int
}

// Stat returns the line of one process, and false when there is none.
func Stat(pid int) (Process, bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Process{}, false
	}
	// The name may hold anything, parentheses and spaces included.
	s := string(data)
	open, end := strings.IndexByte(s, '('), strings.LastIndexByte(s, ')')
	if open < 0 || end < 0 {
		return Process{}, false
	}
	f := strings.Fields(s[end+1:])
	num := func(i int) int { n, _ := strconv.Atoi(f[i-3]); return n }
	return Process{
		PID: pid, Name: s[open+1 : end], State: f[0][0],
		Parent: num(4), Group: num(5), Session: num(6),
		Terminal: num(7), Ticks: num(14) + num(15),
	}, true
}

// processes returns the lines of the process table for which keep holds.
func processes(keep func(Process) bool) []Process {
	entries, _ := os.ReadDir("/proc")
	var found []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, ok := Stat(pid); ok && keep(p) {
			found = append(found, p)
		}
	}
	return found
}

// Children returns the children of a process, zombies included.
func Children(pid int) []Process {
	return processes(func(p Process) bool { return p.Parent == pid })
}

// Group returns the living members of a process group.
func Group(pgid int) []Process {
	return processes(func(p Process) bool { return p.Group == pgid && p.State != 'Z' && p.State != 'X' })
}

// Alive reports whether a process exists and is no zombie.
func Alive(pid int) bool {
	p, ok := Stat(pid)
	return ok && p.State != 'Z' && p.State != 'X'
}

// Executable returns the path of the program that a process runs, or "".
func Executable(pid int) string {
	path, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return path
}

// Environ returns the environment a process was started with, sorted.
func Environ(pid int) []string {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	env := strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")
	slices.Sort(env)
	return env
}

// Getenv returns one variable of the environment a process was started with.
func Getenv(pid int, key string) string {
	for _, kv := range Environ(pid) {
		if value, ok := strings.CutPrefix(kv, key+"="); ok {
			return value
		}
	}
	return ""
}

// A Status is what /proc/PID/status says of a process.
type Status struct {
	Threads                  int
	Blocked, Ignored, Caught uint64 // bit n-1 is signal n
	RSS, PeakRSS             int64  // bytes
	NoNewPrivs               bool   // prctl(2), PR_SET_NO_NEW_PRIVS
	Seccomp                  int    // 0: none, 2: filtered
}

// ReadStatus returns the status of a process; it is zero when there is none.
func ReadStatus(pid int) Status {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	var s Status
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		number, _ := strconv.ParseInt(strings.TrimSuffix(value, " kB"), 10, 64)
		mask, _ := strconv.ParseUint(value, 16, 64)
		switch key {
		case "Threads":
			s.Threads = int(number)
		case "SigBlk":
			s.Blocked = mask
		case "SigIgn":
			s.Ignored = mask
		case "SigCgt":
			s.Caught = mask
		case "NoNewPrivs":
			s.NoNewPrivs = number == 1
		case "Seccomp":
			s.Seccomp = int(number)
		case "VmRSS":
			s.RSS = number << 10
		case "VmHWM":
			s.PeakRSS = number << 10
		}
	}
	return s
}

// Limit returns a resource limit (unix.RLIMIT_NOFILE, ...) of a process.
func Limit(pid, resource int) (unix.Rlimit, error) {
	var limit unix.Rlimit
	err := unix.Prlimit(pid, resource, nil, &limit)
	return limit, err
}

// SetSoftLimit sets the soft limit of a resource of a process.
func SetSoftLimit(pid, resource int, soft uint64) error {
	limit, err := Limit(pid, resource)
	if err != nil {
		return err
	}
	limit.Cur = soft
	return unix.Prlimit(pid, resource, &limit, nil)
}

// Halt stops a process with SIGSTOP and waits until it stands still: the signal
// stops a thread after the other, and one that is waiting in the kernel may
// finish a system call before it is its turn.
func Halt(t testing.TB, pid int) {
	t.Helper()
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	Until(t, fmt.Sprintf("process %d standing still", pid), func() bool {
		tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		for _, task := range tasks {
			data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/stat", pid, task.Name()))
			if err != nil || !strings.Contains(string(data), ") T ") {
				return false
			}
		}
		return len(tasks) > 0
	}, nil)
}
