package linger

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// watch has Run told what comes over a connection. The lock is held.
func (c *Closer) watch(fd int) error {
	return c.epoll.Add(fd, unix.EPOLLIN|unix.EPOLLRDHUP, int32(fd))
}

// Run serves the connections that linger, until End.
func (c *Closer) Run() {
	events := make([]unix.EpollEvent, 128)
	for {
		n, _, err := c.epoll.Wait(events)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return // closed
		}
		c.reading.Lock()
		c.mu.Lock()
		for _, event := range events[:n] {
			// The descriptor may be that of a later connection, where reading
			// finds what there is.
			if e := c.entries[int(event.Fd)]; e != nil && e.read(c.buf) {
				c.finish(e)
			}
		}
		c.expire(time.Now())
		c.mu.Unlock()
		c.reading.Unlock()
	}
}

// finish closes a connection that lingers. The lock is held.
func (c *Closer) finish(e *entry) {
	// Should anybody else hold the connection, closing it would not take it out.
	_ = c.epoll.Remove(e.fd)
	delete(c.entries, e.fd)
	e.close()
	e.fd = -1
	if len(c.entries) == 0 {
		for _, done := range c.idle {
			close(done)
		}
		c.idle = nil
	}
}

// compact drops those from the beginning of a queue that have ended, and all of
// them once they are the greater part. The lock is held.
func (c *Closer) compact(kind Kind) {
	var alive []*entry
	for _, e := range c.queues[kind] {
		if e.fd >= 0 {
			alive = append(alive, e)
		}
	}
	c.queues[kind] = alive
}

// expire closes the connections whose time is over, and has Run wake up for the
// next one. A deadline stays when its connection has ended before: one wake-up for
// nothing costs less than a new deadline for each connection. The lock is held.
func (c *Closer) expire(now time.Time) {
	if c.deadline.IsZero() || now.Before(c.deadline) {
		return
	}
	var next time.Time
	for kind := range kinds {
		c.compact(kind)
		for _, e := range c.queues[kind] {
			if now.Before(e.until) {
				if next.IsZero() || e.until.Before(next) {
					next = e.until
				}
				break
			}
			c.finish(e)
		}
	}
	c.setDeadline(next)
}

// setDeadline has Run wake up at a time, never if it is zero. The lock is held.
func (c *Closer) setDeadline(at time.Time) {
	if c.deadline.Equal(at) {
		return
	}
	c.deadline = at
	_ = c.epoll.SetDeadline(at)
}
