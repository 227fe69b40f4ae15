package endpoints

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// otherFiles is how many descriptors a master needs at least beside one for each
// listener: its own, and those of a few connections.
const otherFiles = 100

// checkLimits returns an error if this machine does not allow as many listeners as
// there will be for a moment: those that are there, and those that the plan opens.
// Few listeners are not counted. With them it shows when they are opened.
func (s *Set) checkLimits(p *Plan, present map[endpoint][]*Listener) error {
	wanted := len(p.rebound)
	for _, spec := range p.changed {
		for i, at := range s.endpointsOf(spec) {
			if !at.passed && len(present[at]) == 0 {
				wanted += max(1, len(spec.Addresses[i].Resolved))
			}
		}
	}
	if wanted == 0 {
		return nil
	}
	for _, listeners := range s.listeners {
		wanted += len(listeners)
	}
	if wanted <= otherFiles {
		return nil
	}
	// Go has raised the soft limit to the hard one.
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err == nil && files.Cur < uint64(wanted+otherFiles) {
		return fmt.Errorf("RLIMIT_NOFILE is %d, and %d open files are needed at least, %d of them for listening sockets (ulimit -Hn, LimitNOFILE= of a unit)",
			files.Cur, wanted+otherFiles, wanted)
	}
	// The listeners of all processes of a user count (epoll(7)).
	if most, ok := s.watches(); ok && most < wanted {
		return fmt.Errorf("fs.epoll.max_user_watches is %d, and %d listening sockets need one each (sysctl)", most, wanted)
	}
	return nil
}

// mostWatches returns how many descriptors a user may wait for with epoll.
func mostWatches() (n int, ok bool) {
	text, err := os.ReadFile("/proc/sys/fs/epoll/max_user_watches")
	if err != nil {
		return 0, false
	}
	n, err = strconv.Atoi(strings.TrimSpace(string(text)))
	return n, err == nil
}
