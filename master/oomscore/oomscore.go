package oomscore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// The bounds of an adjustment. With Lowest a process is never killed.
const (
	Lowest  = -1000
	Highest = 1000
)

const own = "/proc/self/oom_score_adj"

// Own returns the adjustment of this process. It reports false if the kernel does
// not tell.
func Own() (int, bool) {
	text, err := os.ReadFile(own)
	if err != nil {
		return 0, false
	}
	n, err := strconv.Atoi(string(bytes.TrimSpace(text)))
	return n, err == nil
}

// checking is held while this process has another adjustment than its own, which
// a second check would take for its own and leave behind.
var checking sync.Mutex

// CheckAllowed returns why this process may not give a child an adjustment, or
// nil. To raise it is always allowed. To lower it needs CAP_SYS_RESOURCE, or that
// somebody who had that has set this process as low before.
//
// Only the kernel knows how low that was. So CheckAllowed asks it: it gives this
// process the lower adjustment for a moment. A child that is forked in that
// moment inherits it.
func CheckAllowed(adjustment int) error {
	checking.Lock()
	defer checking.Unlock()
	now, ok := Own()
	if !ok || adjustment >= now {
		return nil
	}
	err := write(own, adjustment, nil)
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		return fmt.Errorf("preforkd's own is %d, and only with CAP_SYS_RESOURCE can it be less", now)
	}
	if err != nil {
		return err
	}
	return write(own, now, nil)
}

// Set gives a child of this process its adjustment. isChild is asked when the
// file is open: it reports whether the pid is still that child's. A child that
// has ended is no error.
//
// The child's user must be the calling thread's, or the thread must be allowed to
// write any file. The error is unix.EACCES otherwise.
func Set(pid, adjustment int, isChild func() bool) error {
	err := write("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", adjustment, isChild)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// write writes an adjustment, unless isChild reports false.
func write(path string, adjustment int, isChild func() bool) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("open "+path, err)
	}
	defer unix.Close(fd)
	if isChild != nil && !isChild() {
		return nil
	}
	if _, err := unix.Write(fd, strconv.AppendInt(nil, int64(adjustment), 10)); err != nil {
		return os.NewSyscallError("write "+path, err)
	}
	return nil
}
