package workers

import (
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/epoll"
)

// A poller tells the loop which control channels have something to read, with one
// goroutine for them all.
type poller struct {
	set   *epoll.Set
	ready chan []int // pids of workers that have said something
	// add is set.Add. Tests have others.
	add func(fd int, events uint32, key int32) error
}

func newPoller() (*poller, error) {
	set, err := epoll.New()
	if err != nil {
		return nil, err
	}
	return &poller{set: set, ready: make(chan []int), add: set.Add}, nil
}

// watch reports a channel under its worker's pid from now on, until the channel
// is closed. The pid may be another worker's by the time it is reported; then
// reading finds nothing.
//
// Edge-triggered: a channel is reported when something comes, and not again
// while the loop has not read all of it yet.
func (p *poller) watch(channel, pid int) error {
	return p.add(channel, unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLET&0xffffffff, int32(pid))
}

// run reports ready channels until close. stop ends a report that nobody takes.
func (p *poller) run(stop <-chan struct{}) {
	events := make([]unix.EpollEvent, 128)
	for {
		n, _, err := p.set.Wait(events)
		if err != nil {
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
func (p *poller) close() { p.set.Close() }
