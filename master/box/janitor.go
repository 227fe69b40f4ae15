package box

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/preforkd/preforkd/master/box/cgroup"
	"github.com/preforkd/preforkd/master/box/stub"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/osthread"
)

// JanitorThreads is how many threads the janitor of a Manager has once there is a
// box.
const JanitorThreads = 2

// answerTimeout bounds how long the holder of a cell may take to answer.
const answerTimeout = 10 * time.Second

// A janitor does what boxes have to do off the path of a connection. Its threads
// enter IPC namespaces of cells, and run nothing else.
type janitor struct {
	once sync.Once

	mu      sync.Mutex // guards what follows
	work    *sync.Cond
	still   *sync.Cond
	queue   []func()
	busy    int  // functions that run
	paused  bool // no function is begun
	stopped bool
	done    sync.WaitGroup
}

func newJanitor() *janitor {
	j := &janitor{}
	j.work, j.still = sync.NewCond(&j.mu), sync.NewCond(&j.mu)
	return j
}

// do has a function called. After stop there is no other thread for it, and the
// caller calls it: everything ends then, and nothing takes long.
func (j *janitor) do(f func()) {
	j.mu.Lock()
	if j.stopped {
		j.mu.Unlock()
		f()
		return
	}
	defer j.mu.Unlock()
	j.once.Do(func() {
		for range JanitorThreads {
			j.done.Go(j.startThread)
		}
	})
	j.queue = append(j.queue, f)
	j.work.Signal()
}

// startThread runs a thread of the janitor to its end. That is never the main
// thread, whose namespaces are those of the process: Setns to the process itself
// would lead nowhere from there.
func (j *janitor) startThread() {
	thread, err := osthread.Start(func() error { return nil })
	if err != nil {
		return // never: the function has none
	}
	defer thread.Close()
	thread.Do(j.run)
}

func (j *janitor) run() {
	for {
		j.mu.Lock()
		for (len(j.queue) == 0 || j.paused) && !j.stopped {
			j.work.Wait()
		}
		if len(j.queue) == 0 {
			j.mu.Unlock()
			return
		}
		f := j.queue[0]
		j.queue[0] = nil
		j.queue = j.queue[1:]
		j.busy++
		j.mu.Unlock()
		f()
		j.mu.Lock()
		j.busy--
		j.still.Broadcast()
		j.mu.Unlock()
	}
}

// pause lets the janitor begin nothing until resume, and waits until it has ended what it
// does. After the deadline it gives up with an error, and the janitor goes on.
func (j *janitor) pause(deadline time.Time) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.paused = true
	defer wakeAt(deadline, j.still)()
	for j.busy > 0 {
		if !time.Now().Before(deadline) {
			j.paused = false
			j.work.Broadcast()
			return errors.New("the end of a process in a box takes too long")
		}
		j.still.Wait()
	}
	return nil
}

// wakeAt wakes who waits for a condition at a time, unless it is stopped before.
func wakeAt(when time.Time, c *sync.Cond) (stop func()) {
	timer := time.AfterFunc(time.Until(when), func() {
		c.L.Lock() // nobody is between a look at the clock and the wait
		defer c.L.Unlock()
		c.Broadcast()
	})
	return func() { timer.Stop() }
}

// resume ends what pause has begun.
func (j *janitor) resume() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.paused = false
	j.work.Broadcast()
}

// stop ends the janitor when it has done all that it was to do.
func (j *janitor) stop() {
	j.mu.Lock()
	j.stopped = true
	j.work.Broadcast()
	j.mu.Unlock()
	j.done.Wait()
}

// clean makes a cell as new in which something was, and reports whether it is. What
// cannot be told is no. Its holder was sent a RequestCheck. It must be called on a thread
// of the janitor.
func (c *cell) clean() bool {
	seen, err := c.seen()
	if err != nil || seen == nil {
		return false
	}
	now, queues := c.states(seen)
	if !c.hasNoObjects(seen, queues) {
		return false
	}
	if c.group != nil && !renewGroup(c.group) {
		return false
	}
	if slices.Equal(now, c.first) {
		return true
	}
	// Most of what a cell costs is not its private mounts.
	if !c.ask(stub.RequestRenew) {
		return false
	}
	_, err = c.mark()
	return err == nil
}

// empty ends what is left in a cell that has no pid namespace but a cgroup. It is the
// owner of the cell.
func (c *cell) empty() {
	defer c.box.end()
	c.left.Leftovers = c.group.Processes()
	if err := c.group.Kill(); err != nil {
		c.box.m.log.Warn("cgroup", logging.Service(c.box.service), logging.Error(err))
	}
	c.drop()
}

// How long a cgroup may be counted as populated after its last process was reaped, and a
// socket be counted that was closed.
const (
	emptyNap  = time.Millisecond
	emptyNaps = 20
)

// renewGroup makes a cgroup ready for another process, and reports false if that cannot
// be.
func renewGroup(l *cgroup.Leaf) bool {
	for range emptyNaps {
		populated, err := l.Populated()
		if err != nil {
			return false
		}
		if !populated {
			return l.Begin() == nil
		}
		time.Sleep(emptyNap)
	}
	return false
}
