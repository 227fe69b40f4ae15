package box

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/box/boxtest"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/fdpark"
	"github.com/preforkd/preforkd/master/process"
)

// An idle cell whose first process was killed is not handed out: the next process
// gets another.
func TestIdleHolderKilled(t *testing.T) {
	h := open(t)
	b := h.box(strict(t))
	c := h.command(b)
	h.run(c, "look")
	h.settle()
	killed := b.idlePIDs()
	if len(killed) == 0 {
		t.Fatal("there is no idle cell")
	}
	// Nobody reaps meanwhile, as in a master that is busy.
	h.do(func() {
		for _, pid := range killed {
			unix.Kill(pid, unix.SIGKILL)
			h.await("a process does not end", func() bool { return boxtest.IsZombie(pid) })
		}
		conn, peer, err := tcpPair()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		defer peer.Close()
		child, err := h.spawner.Start(c, conn, []string{envDo + "=look"}, nil)
		if err != nil {
			t.Error(err)
			return
		}
		child.ReleaseHandle()
		if holder := child.Cell.(*cell).pid; slices.Contains(killed, holder) {
			t.Errorf("a process is in the cell of %d, of those that were killed: %v", holder, killed)
		}
		h.workers[child.Pid] = &worker{command: c, child: child, over: make(chan exit, 1)}
	})
	h.await("the killed cells are still there", func() bool {
		return !slices.ContainsFunc(killed, h.m.IsHolder)
	})
	h.await("a worker does not end", func() (none bool) {
		h.do(func() { none = len(h.workers) == 0 })
		return none
	})
}

// When the first process of a cell is killed that is in use, the program ends, and
// the box goes on.
func TestLiveHolderKilled(t *testing.T) {
	h := open(t)
	b := h.box(strict(t))
	c := h.command(b)
	w, err := h.start(c, "wait")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.view(); err != nil {
		t.Fatal(err)
	}
	unix.Kill(w.child.Cell.(*cell).pid, unix.SIGKILL)
	h.await("the worker does not end", func() bool { return len(w.over) > 0 })
	x, err := w.wait()
	if err != nil || x.Status.Signal() != unix.SIGKILL || x.leftovers != 0 {
		t.Errorf("%v, the worker has ended with %v and %d leftovers", err, x.Status, x.leftovers)
	}
	h.run(c, "look")
}

// The number of a holder may be another's before the exit of the first is told of.
func TestHolderNumberUsedAgain(t *testing.T) {
	h := open(t)
	b := h.box(strict(t))
	h.m.Use([]process.Box{b})
	h.stopLoop()
	const number = 1 << 30
	var cells []*cell
	for range 2 {
		var c *cell
		err := h.spawner.Do(func() (err error) {
			c, err = newCell(b, b.template)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		h.m.mu.Lock()
		delete(h.m.holders, c.pid)
		h.m.holders[number] = append(h.m.holders[number], c)
		h.m.mu.Unlock()
		cells = append(cells, c)
	}
	for i, c := range cells {
		if h.m.HolderReaped(number) {
			t.Errorf("%d: the exit of a stranger is that of a holder which lives", i)
		}
		c.drop()
		h.await("a cell does not end", func() bool { return c.over() })
		if _, ok := process.Wait(c.pid); !ok {
			t.Fatal("a cell was not reaped")
		}
		if !h.m.HolderReaped(number) {
			t.Errorf("%d: the exit of a holder is not told from others", i)
		}
	}
	if h.m.IsHolder(number) {
		t.Error("a holder is known that was reaped")
	}
}

// Many processes at once, and then nothing is left of them.
func TestMany(t *testing.T) {
	h := open(t)
	b := h.box(strict(t))
	c := h.command(b)
	h.run(c, "look")
	const many, atOnce = 200, 16
	places := make(chan struct{}, atOnce)
	var group sync.WaitGroup
	for i := range many {
		places <- struct{}{}
		group.Go(func() {
			defer func() { <-places }()
			do := []string{"look", "look", "touch", "shm"}[i%4]
			w, err := h.start(c, do)
			if err != nil {
				t.Errorf("%s: %v", do, err)
				return
			}
			v, err := w.view()
			if err != nil || v.Err != "" || len(v.Tmp) > 0 {
				t.Errorf("%s: %v %+v", do, err, v)
			}
			if x, err := w.wait(); err != nil || x.Status.ExitStatus() != 0 {
				t.Errorf("%s: %v %v", do, err, x.Status)
			}
		})
	}
	group.Wait()
	h.await("ids are lent, and nothing runs", func() bool { return b.users.InUse() == 0 })
	h.await("there are more cells than are idle", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.live == len(b.idle) && len(b.idle) <= maxIdle
	})
}

// Close in the middle of starts and of the try of a box ends all of it.
func TestCloseInTheMiddle(t *testing.T) {
	for range 5 {
		h := open(t)
		b := h.box(strict(t))
		c := h.command(b)
		var group sync.WaitGroup
		begun := make(chan struct{}, 100)
		for range 4 {
			group.Go(func() {
				for {
					conn, peer, err := tcpPair()
					if err != nil {
						t.Error(err)
						return
					}
					child, err := h.spawner.Start(c, conn, []string{envDo + "=wait"}, nil)
					conn.Close()
					defer peer.Close()
					if err != nil {
						if !errors.Is(err, errClosed) {
							t.Error(err)
						}
						return
					}
					child.ReleaseHandle()
					defer child.Cell.Leave(func(process.Remains) {}) // after Close
					begun <- struct{}{}
				}
			})
		}
		group.Go(func() {
			for size := config.ByteSize(1); ; size++ {
				cfg := strict(t)
				cfg.PrivateTmpSize = size << 20
				if _, err := h.m.Box("", &cfg); err != nil {
					if !errors.Is(err, errClosed) {
						t.Error(err)
					}
					return
				}
			}
		})
		for range 10 {
			<-begun
		}
		h.stopLoop()
		h.m.Close()
		group.Wait()
		for _, pid := range boxtest.Children(t) {
			t.Errorf("process %d is left", pid)
		}
	}
}

// The descriptors of a cell may be elsewhere when its process ends, with and without
// others that it leaves behind. The loop parks them.
func TestParkedCell(t *testing.T) {
	park, err := fdpark.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(park.Close) // after the house
	h := open(t)
	b := h.box(strict(t))
	h.m.Use([]process.Box{b})
	c := h.command(b)
	start := func(do string) (*worker, *cell) {
		w, err := h.start(c, do)
		if err != nil {
			t.Fatal(err)
		}
		own := w.child.Cell.(*cell)
		near := own.Descriptors()
		copies, err := park.Park(near)
		if err != nil {
			t.Fatal(err)
		}
		h.do(func() { own.Parked(park.Do, copies) })
		for _, fd := range near {
			if target, err := os.Readlink(fmt.Sprint("/proc/self/fd/", fd)); err == nil && strings.Contains(target, "pidfd") {
				t.Errorf("descriptor %d is still open: %s", fd, target)
			}
		}
		if left := own.Descriptors(); len(left) > 0 {
			t.Errorf("a parked cell has %v", left)
		}
		return w, own
	}
	for do, leftovers := range map[string]int{"look": 0, "orphan": 1} {
		w, own := start(do)
		holder := own.pid
		r := h.finish(w, do)
		if r.leftovers != leftovers {
			t.Errorf("after %q there are %d leftovers, want %d", do, r.leftovers, leftovers)
		}
		h.await("the holder of a parked cell does not end", func() bool { return unix.Kill(holder, 0) == unix.ESRCH })
	}
	w, _ := start("wait")
	var parked int
	park.Do(func() {
		for fd := range 1024 {
			if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
				parked++
			}
		}
	})
	if parked < 2 {
		t.Errorf("%d descriptors are parked", parked)
	}
	w.view()
	if _, err := w.wait(); err != nil {
		t.Error(err)
	}
}

// A holder that is killed once it is ready is not the fault of the cell, of which there
// can be another.
func TestReadyHolderKilled(t *testing.T) {
	h := open(t)
	b := h.box(strict(t))
	h.m.Use([]process.Box{b})
	template, err := b.begin()
	if err != nil {
		t.Fatal(err)
	}
	defer b.end()
	err = h.spawner.Do(func() error {
		c := &cell{box: b, pidfd: -1, control: -1}
		if err := c.startHolder(template); err != nil {
			return err
		}
		defer c.drop()
		poll := []unix.PollFd{{Fd: int32(c.control), Events: unix.POLLIN}}
		h.await("the holder does not get ready", func() bool { n, _ := unix.Poll(poll, 0); return n > 0 })
		unix.Kill(c.pid, unix.SIGKILL)
		h.await("the holder does not end", c.over)
		return c.awaitReady(template)
	})
	if !errors.Is(err, errHolderEnded) {
		t.Errorf("%v, want %v", err, errHolderEnded)
	}
}
