package osthread

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"
)

// hungPause is how often Hung looks.
const hungPause = 20 * time.Millisecond

// Hung returns the id of a thread of this process that waits in the kernel for at least a
// time where no signal wakes it (state D in proc_pid_stat(5)), as it does for a file system
// that does not answer, or 0 if there is none. Whatever needs each thread to take a signal
// would wait for it. Hung returns at once when no thread looks like one, and when none has
// stayed so: each start of a process does that for a moment (vfork(2)).
func Hung(atLeast time.Duration) (int, error) {
	waiting, err := uninterruptible()
	for begun := time.Now(); len(waiting) > 0 && err == nil; {
		time.Sleep(hungPause)
		var now map[int]string
		if now, err = uninterruptible(); err != nil {
			break
		}
		for id, switches := range waiting {
			if now[id] != switches {
				delete(waiting, id)
			} else if time.Since(begun) >= atLeast {
				return id, nil
			}
		}
	}
	return 0, err
}

// uninterruptible returns the ids of the threads in state D, each with how often it has
// been switched to, which tells one wait from the next.
func uninterruptible() (map[int]string, error) {
	const dir = "/proc/self/task"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	found := map[int]string{}
	for _, e := range entries {
		var id int
		if _, err := fmt.Sscan(e.Name(), &id); err != nil {
			continue
		}
		text, err := os.ReadFile(fmt.Sprintf("%s/%d/status", dir, id))
		if err != nil || !bytes.Contains(text, []byte("\nState:\tD")) {
			continue // or it has ended
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "ctxt_switches:") {
				found[id] += line
			}
		}
	}
	return found, nil
}
