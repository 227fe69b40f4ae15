package cgroup

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"
)

// A Leaf is the cgroup of one connection at a time. When Populated says that the processes
// of a connection are gone, it can serve another. Its methods must not be called at the
// same time.
type Leaf struct {
	service     *Service
	directory   directory
	controllers []string // that it has
	used        bool     // a process may have been here
	start       counters // at Begin
	peak        int      // descriptor of memory.peak inside of park, or -1
	reset       bool     // peak counts since Begin
	near        bool     // peak is in the table of the process, and not in service.park
}

// park runs f where the number of peak is valid.
func (l *Leaf) park(f func()) {
	if l.near {
		f()
	} else {
		l.service.park(f)
	}
}

// Open returns a descriptor for UseCgroupFD of syscall.SysProcAttr, so that a child is
// born in the leaf. The caller must close it after the start: a descriptor that is open
// during the connection makes every fork slower.
func (l *Leaf) Open() (fd int, err error) {
	l.used = true
	d := l.directory
	fd, err = unix.Openat(d.at, d.name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, d.fail("open", "", err)
	}
	return fd, nil
}

// Begin makes Result count from now. It may be called as soon as Populated says that the
// last connection is gone, so that the next one need not wait for it. A new Leaf has begun.
func (l *Leaf) Begin() (err error) {
	if !l.used {
		return nil
	}
	if l.start, err = l.counters(); err != nil {
		return err
	}
	l.reset = slices.Contains(l.controllers, "memory") && l.resetPeak()
	return nil
}

// resetPeak makes the descriptor of memory.peak count from now. It reports false if the
// kernel cannot do that: a write resets what this one descriptor says since Linux 6.12
// (cgroup-v2.rst).
func (l *Leaf) resetPeak() (done bool) {
	l.park(func() {
		if l.peak < 0 {
			// The descriptor of the service is not valid here.
			fd, err := absolute(l.directory.path).openFile("memory.peak", unix.O_RDWR)
			if err != nil {
				return
			}
			l.peak = fd
		}
		if _, err := unix.Write(l.peak, []byte("reset")); err != nil {
			l.closePeak()
			return
		}
		done = true
	})
	return done
}

// closePeak must run inside of park.
func (l *Leaf) closePeak() {
	if l.peak >= 0 {
		unix.Close(l.peak)
		l.peak = -1
	}
}

// Populated reports whether a process is left. It may do so for a moment after the last
// one was reaped. Zombies do not count.
func (l *Leaf) Populated() (bool, error) { return l.directory.populated() }

// Processes returns how many processes there are in the leaf itself, 0 if that cannot
// be read. Zombies count until they are reaped.
func (l *Leaf) Processes() int {
	pids, err := l.directory.words("cgroup.procs")
	if err != nil {
		return 0
	}
	return len(pids)
}

// Kill kills every process of the leaf, whatever its session, parent or user, and waits
// until they are gone. After ten seconds it gives up with an error, and can be called
// again. Meanwhile it keeps a thread, so the caller bounds how many wait at once.
func (l *Leaf) Kill() error { return l.directory.kill() }

// Close kills what is left and removes the cgroup. After an error Close can be called
// again.
func (l *Leaf) Close() error {
	l.park(l.closePeak)
	if err := l.removeFromService(); !errors.Is(err, unix.EBUSY) {
		return err
	}
	return absolute(l.directory.path).removeAll()
}

// removeFromService removes an empty leaf, unless Service.Close has done so.
func (l *Leaf) removeFromService() error {
	l.service.mu.Lock()
	defer l.service.mu.Unlock()
	if l.service.closed {
		return nil
	}
	return l.directory.removeOne()
}
