package accept

import (
	"runtime"
	"sync"
	"time"
)

// A crew is the goroutines that accept, for all listeners. One of them leads: it waits
// for connections and takes the next one. Then it serves it, which starts a process,
// and does not lead any more.
//
// Who leads next is a question of wake-ups, each of which costs more than an accept. A
// goroutine that serves is back in a fraction of a millisecond. So nobody leads until
// then: whoever is done first leads again. Another goroutine is woken for it only
//
//   - if there are more connections, and a processor for one of them,
//   - if a connection comes while nobody leads (guard), and there is a processor for it,
//   - or if those who serve are not back after handOver, because their programs are slow
//     to start.
//
// So there are as many goroutines as there are processors to start processes, and one for
// each connection that has to wait for something, however many listeners there are.
type crew struct {
	start func() // starts a goroutine that leads
	guard guard
	width int // how many may serve before nobody is woken for the next one

	mu      sync.Mutex // guards what follows, and the fields of every turn
	begun   bool
	led     bool    // somebody leads
	guarded bool    // the guard is armed
	free    int     // goroutines that wait in done
	serving []*turn // of those who take or serve a connection
	slow    int     // of them
	timer   *time.Timer
	timed   time.Duration // for which the timer was set; 0: it does not run
	paused  bool
	ended   bool
	wake    chan struct{} // takes one for a goroutine that is no longer free, to lead
}

// A guard calls crew.relieve if a connection comes while it is armed, once.
type guard interface {
	arm() bool // false: it cannot
	disarm()
}

// A turn is the time for which a goroutine takes a connection and serves it.
type turn struct {
	began time.Time
	leads bool // it takes the connection, and nobody else leads
	slow  bool
	index int // in crew.serving
}

const (
	// handOver is after how long somebody who serves is slow.
	handOver = 5 * time.Millisecond
	// stuckAfter is after how long at most it is noticed that a leader does not come to
	// an end with taking a connection. No connection should do that.
	stuckAfter = time.Second
	// maxFree is how many goroutines stay that neither lead nor serve.
	maxFree = 2
)

func newCrew(start func(), g guard) *crew {
	c := &crew{start: start, guard: g, width: runtime.GOMAXPROCS(0), wake: make(chan struct{}, 1)}
	c.timer = time.AfterFunc(time.Hour, c.check)
	c.timer.Stop()
	return c
}

// begin starts the first goroutine, and reports that it has. Later calls do nothing.
func (c *crew) begin() (first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if first = !c.begun; first {
		c.begun = true
		c.appoint()
	}
	return first
}

// take begins a turn of the leader, which is about to take a connection. It must call
// done in the end. It reports false in a pause: then the caller leads no more.
func (c *crew) take(t *turn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.paused {
		c.led = false
		return false
	}
	*t = turn{began: time.Now(), leads: true, index: len(c.serving)}
	c.serving = append(c.serving, t)
	if c.timed == 0 {
		c.setTimer(stuckAfter)
	}
	return true
}

// setTimer has check called after a time. The lock is held.
func (c *crew) setTimer(d time.Duration) {
	if !c.ended {
		c.timed = d
		c.timer.Reset(d)
	}
}

// leave ends the lead of one who has taken a connection and serves it from now on. busy
// says that there are probably more.
func (c *crew) leave(t *turn, busy bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !t.leads {
		return // it took so long that somebody else leads
	}
	t.leads, c.led = false, false
	if room := c.hasRoom(); room && busy {
		c.appoint()
	} else if !(room && c.arm()) && c.timed != handOver {
		c.setTimer(handOver)
	}
}

// hasRoom reports whether there is a processor for one more to serve. The lock is held.
func (c *crew) hasRoom() bool { return len(c.serving)-c.slow < c.width }

// arm has the guard call relieve. It reports whether it will. The lock is held.
func (c *crew) arm() bool {
	c.guarded = c.guarded || !c.ended && c.guard.arm()
	return c.guarded
}

// relieve has somebody lead, because a connection has come and nobody did.
func (c *crew) relieve() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.guarded = false
	if !c.led {
		c.appoint()
	}
}

// done ends a turn, and waits until the caller is to lead, which it still does if it has
// not left. It reports false if that will not be.
func (c *crew) done(t *turn) (lead bool) {
	c.mu.Lock()
	last := c.serving[len(c.serving)-1]
	c.serving[t.index], last.index = last, t.index
	c.serving = c.serving[:len(c.serving)-1]
	if t.slow {
		c.slow--
	}
	switch {
	case c.ended, c.paused, c.led && !t.leads && c.free >= maxFree:
		c.led = c.led && !t.leads
		c.mu.Unlock()
		return false
	case t.leads, !c.led:
		c.lead()
		c.mu.Unlock()
		return true
	}
	c.free++
	c.mu.Unlock()
	_, lead = <-c.wake
	return lead
}

// appoint has another goroutine lead. The lock is held, and nobody leads.
func (c *crew) appoint() {
	switch {
	case c.ended, c.paused:
		return
	case c.free > 0:
		c.free--
		c.wake <- struct{}{} // there is room: the last one who was woken has led since
	default:
		c.start()
	}
	c.lead()
}

// lead notes that somebody leads. The lock is held.
func (c *crew) lead() {
	c.led = true
	if c.guarded {
		c.guarded = false
		c.guard.disarm()
	}
}

// check looks for goroutines that are slow, for as long as any serve.
func (c *crew) check() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, quick := time.Now(), false
	for _, t := range c.serving {
		if !t.slow && now.Sub(t.began) >= handOver {
			t.slow = true
			c.slow++
			if t.leads {
				t.leads, c.led = false, false
			}
		}
		quick = quick || !t.slow
	}
	c.timed = 0
	switch {
	case c.led || c.hasRoom() && c.arm():
	case quick:
		c.setTimer(handOver)
		return
	default:
		c.appoint() // nobody will be back soon
	}
	if len(c.serving) > c.slow {
		c.setTimer(stuckAfter)
	}
}

// pause has nobody begin a turn until resume.
func (c *crew) pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused = true
}

func (c *crew) resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused = false
	if c.begun && !c.led {
		c.appoint()
	}
}

// stepDown has the caller, who leads, lead no more. It reports false if it has to go on,
// because there is no pause any more.
func (c *crew) stepDown() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.paused {
		c.led = false
	}
	return c.paused
}

// stands reports whether nobody leads, and no more than some serve.
func (c *crew) stands(some int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.led && len(c.serving) <= some
}

// end has nobody lead any more.
func (c *crew) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.ended = true
		c.timer.Stop()
		close(c.wake)
	}
}
