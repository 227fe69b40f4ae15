package load

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// A poll is one epoll set, with a timer that has more than epoll's own
// millisecond of resolution.
type poll struct {
	fd     int
	timer  int
	events [256]unix.EpollEvent
}

// timerKey is the key of the timer among the connections' keys, which count
// from zero.
const timerKey = -1

func newPoll() (*poll, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll set: %w", err)
	}
	timer, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("create timer: %w", err)
	}
	p := &poll{fd: fd, timer: timer}
	if err := p.add(timer, timerKey, unix.EPOLLIN); err != nil {
		p.close()
		return nil, fmt.Errorf("watch timer: %w", err)
	}
	return p, nil
}

func (p *poll) close() {
	unix.Close(p.timer)
	unix.Close(p.fd)
}

// add watches fd; its events carry key. Closing fd ends the watch.
func (p *poll) add(fd, key int, events uint32) error {
	return unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(key)})
}

func (p *poll) modify(fd, key int, events uint32) error {
	return unix.EpollCtl(p.fd, unix.EPOLL_CTL_MOD, fd, &unix.EpollEvent{Events: events, Fd: int32(key)})
}

// wake makes the next wait return after d at the latest.
func (p *poll) wake(d time.Duration) error {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(max(d.Nanoseconds(), 1))}
	return unix.TimerfdSettime(p.timer, 0, &spec, nil)
}

// wait waits for events, for 100 ms at most: that is how soon a cancelled
// context is noticed.
func (p *poll) wait() ([]unix.EpollEvent, error) {
	n, err := unix.EpollWait(p.fd, p.events[:], 100)
	if err == unix.EINTR {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("wait for events: %w", err)
	}
	ready := p.events[:n]
	for i := range ready {
		if ready[i].Fd == timerKey {
			var expirations [8]byte
			unix.Read(p.timer, expirations[:])
		}
	}
	return ready, nil
}
