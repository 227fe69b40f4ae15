package box

import (
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/process"
)

// Holds implements process.Cell.
func (c *cell) Holds() bool { return c.box.set.processes || c.box.set.counted }

// CPUTime implements process.Cell.
func (c *cell) CPUTime() (time.Duration, bool) {
	if c.group == nil {
		return 0, false
	}
	u := usage(c.group)
	if u == nil {
		return 0, false
	}
	return u.CPUTime, true
}

// Leave implements process.Cell.
func (c *cell) Leave(done func(process.Remains)) (r process.Remains, empty bool) {
	if c.leaving { // since before this master
		return r, c.leaveAgain(done)
	}
	defer c.box.end()
	switch {
	case !c.Holds():
		// Without a pid namespace nobody knows who else is in the cell's mounts.
		r.Denied = c.takeDenied()
		c.drop()
		return r, true
	case !c.box.set.processes:
		if populated, err := c.group.Populated(); err == nil && !populated {
			r.Usage, r.Denied = usage(c.group), c.takeDenied()
			c.drop()
			return r, true
		}
		c.done, c.leaving = done, true
		c.box.hold()
		c.box.m.janitor.do(c.empty)
		return r, false
	case !c.leftSome():
		if c.group != nil {
			r.Usage = usage(c.group)
		}
		r.Denied = c.takeDenied()
		if c.once.Load() {
			c.drop()
		} else {
			c.box.inspect(c)
		}
		return r, true
	}
	c.done, c.leaving, c.left.Leftovers = done, true, max(1, processesIn(c.pid))
	c.drop()
	return r, false
}

// leftSome reports whether the process of the cell, which was reaped, has left others
// behind. They are the holder's children now, or this process's where there can be such
// siblings. Those have to be looked for, which takes longer.
func (c *cell) leftSome() bool {
	some, err := process.HasChildren(c.pid)
	if err != nil || !some && c.box.set.siblings {
		return processesIn(c.pid) > 0
	}
	return some
}

// unused gives a cell back in which nothing was started.
func (c *cell) unused() {
	if c.pidfd < 0 || c.over() {
		c.drop()
	} else {
		c.box.putIdle(c)
	}
}

// drop is the owner's last call. It ends the holder, and with it all that is in the
// cell.
func (c *cell) drop() {
	c.kill()
	c.release()
}

func (c *cell) kill() {
	if c.pidfd >= 0 {
		c.do(func() { _ = unix.PidfdSendSignal(c.pidfd, unix.SIGKILL, nil, 0) })
	}
}

// do runs f where the descriptors of the cell are.
func (c *cell) do(f func()) {
	if c.parked != nil {
		c.parked(f)
	} else {
		f()
	}
}

// Serves implements process.Cell.
func (c *cell) Serves(conn *os.File) {
	if c.box.set.hasCells() && !c.once.Load() && mayCarryDescriptors(conn) {
		c.once.Store(true)
	}
}

// Descriptors implements process.Cell.
func (c *cell) Descriptors() []int {
	if c.pidfd < 0 || c.parked != nil {
		return nil
	}
	return []int{c.pidfd, c.control}
}

// Parked implements process.Cell. The cell is not handed out again: one that lives for so
// long is cheap to make anew.
func (c *cell) Parked(do func(func()), copies []int) {
	c.once.Store(true)
	// Others look for the holders that have ended.
	c.box.m.mu.Lock()
	defer c.box.m.mu.Unlock()
	unix.Close(c.pidfd)
	unix.Close(c.control)
	c.pidfd, c.control, c.parked = copies[0], copies[1], do
}

// ParkedDescriptors implements process.Cell.
func (c *cell) ParkedDescriptors() []int {
	if c.parked == nil || c.refs.Load() <= 0 {
		return nil
	}
	return []int{c.pidfd, c.control}
}

// TakenBack implements process.Cell.
func (c *cell) TakenBack(fds []int) {
	c.box.m.mu.Lock()
	defer c.box.m.mu.Unlock()
	c.pidfd, c.control, c.parked = fds[0], fds[1], nil
}

// over reports whether the holder has ended.
func (c *cell) over() bool { return c.endsWithin(0) }

// endsWithin waits for the end of the holder, and reports whether it has ended.
func (c *cell) endsWithin(d time.Duration) bool {
	poll := []unix.PollFd{{Fd: int32(c.pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(poll, int(d/time.Millisecond))
	return err == nil && n > 0
}

// gone takes in that the holder was reaped. Nothing is left in its pid namespace.
func (c *cell) gone() {
	if c.box.forget(c) {
		c.release() // nobody else owns it
	}
	c.release()
}

// release gives a reference up. With the last one the cell is over.
func (c *cell) release() {
	if c.refs.Add(-1) > 0 {
		return
	}
	c.releaseUser()
	if c.group != nil {
		if c.done != nil && c.left.Usage == nil {
			c.left.Usage = usage(c.group)
		}
		c.box.giveGroup(c.group)
	}
	if c.pidfd >= 0 {
		c.close()
		c.box.end()
	}
	if c.done != nil {
		c.left.Denied = c.takeDenied()
		c.done(c.left)
	}
}

// takeDenied returns what was denied in the cell.
func (c *cell) takeDenied() process.Denied {
	if c.box.set.subject == nil {
		return process.Denied{}
	}
	return c.box.shared.denied(c.worker)
}

func (c *cell) close() {
	c.do(func() {
		unix.Close(c.pidfd)
		if c.control >= 0 {
			unix.Close(c.control)
		}
	})
}

// ended reports whether the holder was reaped.
func (c *cell) ended() (yes bool) {
	c.do(func() { yes = unix.PidfdSendSignal(c.pidfd, 0, nil, 0) == unix.ESRCH })
	return yes
}

// processesIn counts the processes of a pid namespace but for its first, which
// has the namespace's /proc.
func processesIn(first int) (n int) {
	dir, err := os.Open("/proc/" + strconv.Itoa(first) + "/root/proc")
	if err != nil {
		return 0
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && pid > 1 {
			n++
		}
	}
	return n
}
