package osthread

import (
	"bytes"
	"fmt"
	"os"
	"time"
)

// hungPause is how long a thread must wait in the kernel to count as hung.
const hungPause = 20 * time.Millisecond

// Hung returns the id of a thread of this process that waits in the kernel where no signal
// wakes it (state D in proc_pid_stat(5)), as it does for a file system that does not
// answer, or 0 if there is none. Whatever needs each thread to take a signal would wait
// for it. If a thread looks like one, Hung waits a moment and looks again.
func Hung() (int, error) {
	first, err := uninterruptible()
	if err != nil || len(first) == 0 {
		return 0, err
	}
	time.Sleep(hungPause)
	again, err := uninterruptible()
	if err != nil {
		return 0, err
	}
	for id := range first {
		if again[id] {
			return id, nil
		}
	}
	return 0, nil
}

// uninterruptible returns the ids of the threads in state D.
func uninterruptible() (map[int]bool, error) {
	const dir = "/proc/self/task"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var found map[int]bool
	for _, e := range entries {
		var id int
		if _, err := fmt.Sscan(e.Name(), &id); err != nil {
			continue
		}
		text, err := os.ReadFile(fmt.Sprintf("%s/%d/stat", dir, id))
		if err != nil {
			continue // it has ended
		}
		// The state follows the name, which is in parentheses and may have some.
		if end := bytes.LastIndexByte(text, ')'); end >= 0 && bytes.HasPrefix(text[end:], []byte(") D")) {
			if found == nil {
				found = map[int]bool{}
			}
			found[id] = true
		}
	}
	return found, nil
}
