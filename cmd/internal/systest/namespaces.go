package systest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A Namespace is named as in /proc/PID/ns: "net:[4026531840]".
type Namespace string

// kindsOfNamespaces are those that boxes make.
var kindsOfNamespaces = []string{"mnt", "pid", "ipc", "net", "uts"}

// namespacesOf adds the namespaces of the threads of a process to a set.
func namespacesOf(pid int, all map[Namespace]bool) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/ns", pid))
	for _, dir := range tasks {
		for _, kind := range kindsOfNamespaces {
			if name, err := os.Readlink(filepath.Join(dir, kind)); err == nil {
				all[Namespace(name)] = true
			}
		}
	}
}

// A Population is what a master has at one time beside itself.
type Population struct {
	Processes  map[Incarnation]bool
	Namespaces map[Namespace]bool

	others map[Incarnation]bool // that there were beside them
}

// An Incarnation tells a process from a later one with the same number.
type Incarnation struct {
	PID   int
	Start string // the time of its start, as proc_pid_stat(5) has it
}

func incarnation(pid int) (Incarnation, bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Incarnation{}, false
	}
	const starttime = 22 // the number of the field; the first after the name is 3
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	return Incarnation{pid, fields[starttime-3]}, true
}

// Population returns the descendants of a master, and the namespaces that they and
// the master's threads are in and this process is not.
func (m *Master) Population() Population {
	p := Population{map[Incarnation]bool{}, map[Namespace]bool{}, map[Incarnation]bool{}}
	children := map[int][]int{}
	for _, c := range processes(func(Process) bool { return true }) {
		children[c.Parent] = append(children[c.Parent], c.PID)
		if i, ok := incarnation(c.PID); ok {
			p.others[i] = true
		}
	}
	for parents := []int{m.PID}; len(parents) > 0; parents = parents[1:] {
		namespacesOf(parents[0], p.Namespaces)
		for _, pid := range children[parents[0]] {
			if i, ok := incarnation(pid); ok {
				p.Processes[i] = true
				parents = append(parents, pid)
			}
		}
	}
	own := map[Namespace]bool{}
	namespacesOf(os.Getpid(), own)
	for n := range own {
		delete(p.Namespaces, n)
	}
	return p
}

// WaitGone waits until there is none of these processes, and no other one is in one of
// these namespaces. Processes that were started later do not count: others may make
// namespaces that have the same numbers then.
func (p Population) WaitGone(t testing.TB) {
	t.Helper()
	var left []string
	Until(t, "without what the master had", func() bool {
		left = nil
		for i := range p.Processes {
			if now, ok := incarnation(i.PID); ok && now == i {
				left = append(left, fmt.Sprintf("process %d", i.PID))
			}
		}
		for i := range p.others {
			if now, ok := incarnation(i.PID); !ok || now != i {
				continue
			}
			for _, kind := range kindsOfNamespaces {
				if name, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", i.PID, kind)); err == nil && p.Namespaces[Namespace(name)] {
					left = append(left, fmt.Sprintf("process %d in %s", i.PID, name))
				}
			}
		}
		return len(left) == 0
	}, func() string { return strings.Join(left[:min(len(left), 20)], ", ") })
}
