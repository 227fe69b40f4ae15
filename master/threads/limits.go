package threads

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// nproc returns the limit of processes and threads that a user may have
// (RLIMIT_NPROC, getrlimit(2)). It reports false where there is none for this
// process.
func nproc() (limit uint64, ok bool) {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NPROC, &l) != nil || l.Cur == unix.RLIM_INFINITY {
		return 0, false
	}
	// The kernel exempts user 0, and whoever has one of two capabilities
	// (copy_process in kernel/fork.c).
	if os.Getuid() == 0 {
		return 0, false
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	const exempt = 1<<unix.CAP_SYS_RESOURCE | 1<<unix.CAP_SYS_ADMIN
	if unix.Capget(&header, &sets[0]) == nil && sets[0].Effective&exempt != 0 {
		return 0, false
	}
	return l.Cur, true
}

// checkNPROC returns an error if the limit of the user is below n, so that there
// is no need to ask the system.
func checkNPROC(n int) error {
	if limit, ok := nproc(); ok && limit < uint64(n) {
		return fmt.Errorf("RLIMIT_NPROC is %d, and %d threads and processes are needed at least (ulimit -u, LimitNPROC= of a unit)", limit, n)
	}
	return nil
}

// cgroups returns the directories of the cgroups that count this process and its
// threads, the innermost first. There are none where cgroups cannot be seen.
func cgroups() (dirs []string) {
	for line := range strings.Lines(read("/proc/self/cgroup")) {
		// hierarchy:controllers:path; version 2 is "0::path" (cgroups(7)).
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		root := "/sys/fs/cgroup"
		switch {
		case fields[1] == "pids":
			root += "/pids"
		case fields[0] != "0" || fields[1] != "":
			continue
		}
		for dir := filepath.Join(root, fields[2]); strings.HasPrefix(dir, root); dir = filepath.Dir(dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// refusals returns how many processes and threads some cgroups have refused, all
// together (pids.events).
func refusals(dirs []string) (count int) {
	for _, dir := range dirs {
		for event := range strings.Lines(read(dir + "/pids.events")) {
			if name, text, _ := strings.Cut(strings.TrimSpace(event), " "); name == "max" {
				n, _ := strconv.Atoi(text)
				count += n
			}
		}
	}
	return count
}

// full returns which of some cgroups has no room for n processes and threads, and
// its limit. The path is "" if that cannot be told.
func full(dirs []string, n int) (dir string, limit int) {
	for _, dir := range dirs {
		limit, err := strconv.Atoi(strings.TrimSpace(read(dir + "/pids.max")))
		if err != nil {
			continue // there is no limit
		}
		if current, err := strconv.Atoi(strings.TrimSpace(read(dir + "/pids.current"))); err == nil && current+n > limit {
			return dir, limit
		}
	}
	return "", 0
}

// read returns the text of a file, "" if it cannot be read.
func read(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(text)
}
