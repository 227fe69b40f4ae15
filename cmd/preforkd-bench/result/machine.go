package result

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A Machine is where a run took place. Numbers of different machines, or of
// the same machine at different times, cannot be compared.
type Machine struct {
	System string `json:"system"` // distribution
	Kernel string `json:"kernel"`
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory string `json:"memory"`
	Load   string `json:"load"` // averages before the run
	Go     string `json:"go"`

	// PIDs is how many processes and threads can exist at once
	// (kernel.pid_max); 0 when unknown.
	PIDs int `json:"pids"`
}

// ThisMachine describes the machine. What cannot be found out is "unknown":
// no reason not to measure.
func ThisMachine() Machine {
	m := Machine{
		System: strings.Trim(field("/etc/os-release", "PRETTY_NAME", "="), `"`),
		Kernel: "unknown",
		CPU:    field("/proc/cpuinfo", "model name", ":"),
		Cores:  runtime.NumCPU(),
		Memory: field("/proc/meminfo", "MemTotal", ":"),
		Load:   "unknown",
		Go:     strings.TrimPrefix(runtime.Version(), "go"),
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:]) + " " + unix.ByteSliceToString(name.Machine[:])
	}
	if content, err := os.ReadFile("/proc/loadavg"); err == nil {
		if fields := strings.Fields(string(content)); len(fields) >= 3 {
			m.Load = strings.Join(fields[:3], " ")
		}
	}
	if content, err := os.ReadFile("/proc/sys/kernel/pid_max"); err == nil {
		m.PIDs, _ = strconv.Atoi(strings.TrimSpace(string(content)))
	}
	return m
}

func (m Machine) String() string {
	return fmt.Sprintf("%s, Linux %s, %d x %s, %s, pid_max %d, Go %s, load %s",
		m.System, m.Kernel, m.Cores, m.CPU, m.Memory, m.PIDs, m.Go, m.Load)
}

// field returns the value of the first line that starts with key.
func field(path, key, separator string) string {
	f, err := os.Open(path)
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, found := strings.Cut(lines.Text(), separator)
		if found && strings.TrimSpace(name) == key {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
