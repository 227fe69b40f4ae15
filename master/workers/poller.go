package workers

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A poller tells the loop which control channels have something to read. One
// epoll descriptor and one goroutine serve them all: a goroutine for each
// would cost the master several kilobytes for every idle worker.
type poller struct {
	file  *os.File   // the epoll descriptor; itself watched by Go's poller
	ready chan []int // pids of workers that have said something
	// control is unix.EpollCtl. Tests have others.
	control func(epoll, op, fd int, event *unix.EpollEvent) error
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	// os.File gives a descriptor to Go's poller only if it is non-blocking.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &poller{file: os.NewFile(uintptr(fd), "epoll"), ready: make(chan []int), control: unix.EpollCtl}, nil
}

// watch reports a channel under its worker's pid from now on, until the channel
// is closed. The pid may be another worker's by the time it is reported; then
// reading finds nothing.
//
// Edge-triggered: a channel is reported when something comes, and not again
// while the loop has not read all of it yet.
func (p *poller) watch(channel, pid int) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET&0xffffffff, Fd: int32(pid)}
	raw, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	var ctlErr error
	if err := raw.Control(func(epoll uintptr) {
		ctlErr = p.control(int(epoll), unix.EPOLL_CTL_ADD, channel, &event)
	}); err != nil {
		return err
	}
	return ctlErr
}

// run reports ready channels until close. stop ends a report that nobody takes.
func (p *poller) run(stop <-chan struct{}) {
	raw, err := p.file.SyscallConn()
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
		case p.ready <- pids:
		case <-stop:
			return
		}
	}
}

// close ends run.
func (p *poller) close() { p.file.Close() }
