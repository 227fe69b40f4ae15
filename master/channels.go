package master

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// channels tells the loop which control channels have something to read. One
// epoll descriptor and one goroutine serve them all: a goroutine for each would
// cost every idle worker several kilobytes of the master's memory.
type channels struct {
	file  *os.File   // the epoll descriptor; itself watched by Go's poller
	ready chan []int // pids of workers that have said something
}

func newChannels() (*channels, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	// Non-blocking is how os.File knows that its poller may have it.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &channels{file: os.NewFile(uintptr(fd), "epoll"), ready: make(chan []int)}, nil
}

// watch makes a worker's channel known. Closing the channel ends that. Its pid
// may be another worker's when it is reported; reading finds nothing then.
//
// Edge-triggered: a channel is reported when something comes, and not again
// while the loop has not got round to reading all of it.
func (c *channels) watch(channel, pid int) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET&0xffffffff, Fd: int32(pid)}
	raw, err := c.file.SyscallConn()
	if err != nil {
		return err
	}
	var ctlErr error
	if err := raw.Control(func(epoll uintptr) {
		ctlErr = unix.EpollCtl(int(epoll), unix.EPOLL_CTL_ADD, channel, &event)
	}); err != nil {
		return err
	}
	return ctlErr
}

// run reports ready channels until close.
func (c *channels) run(stop <-chan struct{}) {
	raw, err := c.file.SyscallConn()
	if err != nil {
		return
	}
	events := make([]unix.EpollEvent, 128)
	for {
		var n int
		err := raw.Read(func(epoll uintptr) bool {
			for {
				n, err = unix.EpollWait(int(epoll), events, 0)
				if err != unix.EINTR {
					return n != 0
				}
			}
		})
		if err != nil || n < 0 {
			return // closed
		}
		pids := make([]int, n)
		for i := range pids {
			pids[i] = int(events[i].Fd)
		}
		select {
		case c.ready <- pids:
		case <-stop:
			return
		}
	}
}

// close ends run.
func (c *channels) close() { c.file.Close() }
