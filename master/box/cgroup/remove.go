package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// emptyWait is how long a killed cgroup has to become empty. A process ends late when it
// waits for a disk or a network file system.
const emptyWait = 10 * time.Second

// populated reports whether a process is in the cgroup or in one below. A zombie does not
// count.
func (d directory) populated() (bool, error) {
	events, err := d.keyed("cgroup.events")
	return events["populated"] != 0, err
}

// kill kills all processes of the cgroup and of those below, and returns when they are
// gone, or with an error after emptyWait. It keeps its thread as long as it waits.
func (d directory) kill() error {
	events, err := d.openFile("cgroup.events", unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer unix.Close(events)
	for deadline := time.Now().Add(emptyWait); ; {
		// The kernel kills a child that is being forked meanwhile. It does so again each
		// time, should one have been born into the cgroup from outside (CLONE_INTO_CGROUP).
		if err := d.write("cgroup.kill", "1"); err != nil {
			return err
		}
		const again = time.Second
		empty, err := d.waitEmpty(events, min(again, time.Until(deadline)))
		if err != nil || empty {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not empty %v after it was killed: processes %s", d.path, emptyWait, d.processes())
		}
	}
}

// waitEmpty waits until cgroup.events says that no process is left. A change of the file
// makes a descriptor of it ready with POLLPRI until it is read (cgroup-v2.rst).
func (d directory) waitEmpty(events int, wait time.Duration) (bool, error) {
	for deadline := time.Now().Add(wait); ; {
		buf := make([]byte, 256)
		n, err := ignoringEINTR(func() (int, error) { return unix.Pread(events, buf, 0) })
		if err == unix.ENODEV {
			return true, nil // the cgroup was removed, so it was empty
		}
		if err != nil {
			return false, d.fail("read", "cgroup.events", err)
		}
		values, err := parseKeyed(string(buf[:n]))
		if err != nil {
			return false, d.fail("parse", "cgroup.events", err)
		}
		left := time.Until(deadline)
		if values["populated"] == 0 || left <= 0 {
			return values["populated"] == 0, nil
		}
		fds := []unix.PollFd{{Fd: int32(events), Events: unix.POLLPRI}}
		if _, err := unix.Poll(fds, int(left.Milliseconds())+1); err != nil && err != unix.EINTR {
			return false, d.fail("poll", "cgroup.events", err)
		}
	}
}

// processes names the processes of a cgroup and of those below, for a message.
func (d directory) processes() string {
	var pids []string
	filepath.WalkDir(d.path, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			words, _ := absolute(path).words("cgroup.procs")
			pids = append(pids, words...)
		}
		return nil
	})
	return strings.Join(pids, ", ")
}

// removeAll removes the cgroup and those below, and kills their processes. It is no error
// if the cgroup is not there.
func (d directory) removeAll() error {
	populated, err := d.populated()
	if err == nil && populated {
		err = d.kill()
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return err
	}
	return d.removeEmpty()
}

// removeEmpty removes the cgroup and those below. They have no processes.
func (d directory) removeEmpty() error {
	entries, err := os.ReadDir(d.path)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := absolute(filepath.Join(d.path, e.Name())).removeEmpty(); err != nil {
				return err
			}
		}
	}
	return d.removeOne()
}

// removeOne removes a cgroup that has none below. It is no error if it is not there.
func (d directory) removeOne() error {
	if err := unix.Unlinkat(d.at, d.name, unix.AT_REMOVEDIR); err != nil && err != unix.ENOENT {
		return d.fail("rmdir", "", err)
	}
	return nil
}
