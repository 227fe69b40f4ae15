package box

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/box/observe"
	"github.com/preforkd/preforkd/master/box/userpool"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/process"
)

// Threads run functions on threads that have a file system state of their own
// (CLONE_FS, unshare(2)). A function that returns an error which wraps
// process.ErrThreadLost has spoiled its thread.
//
// What is started on a thread of DoBare never has a capability (process.ClearBounding).
type Threads interface {
	Do(f func() error) error
	DoBare(f func() error) error
}

// A Manager owns the boxes. Its methods may be called by any goroutine.
type Manager struct {
	log     *zap.Logger
	threads Threads
	janitor *janitor
	closed  atomic.Bool // set while mu is held
	groups  groups

	mu       sync.Mutex // guards what follows
	starting int        // starts that are under way
	paused   bool       // no start is begun
	starts   *sync.Cond // one of these two has changed, or closed
	carry    carried

	shared  *shared // nil until there is a box
	boxes   []*Box
	users   userpool.Users // that pools have lent
	pools   map[config.UserRange]*userpool.Pool
	holders map[int][]*cell // by the pid of the cell's first process; the pid may be used again before the exit is told of
	probes  map[int]bool    // pids of processes that have tried a box

	fittings []fitting // of boxes that lack something, of the last moment
}

// NewManager returns a Manager without boxes. The caller must call Close.
func NewManager(threads Threads, log *zap.Logger) *Manager {
	m := &Manager{log: log, groups: groups{log: log}, threads: threads, pools: map[config.UserRange]*userpool.Pool{}, holders: map[int][]*cell{}, probes: map[int]bool{}}
	m.janitor, m.starts = newJanitor(), sync.NewCond(&m.mu)
	return m
}

// Box returns the box that a service asks for, by its name, nil if it asks for none. It makes
// the box if no other service has one to the same effect, and tries it: an error says
// which key cannot be had here, and what would give it. It may take as long as file
// systems do.
//
// A box that Use is not told of may be closed at any time, and is made again when
// something is started in it.
func (m *Manager) Box(service string, cfg *config.Box) (process.Box, error) {
	if cfg.IsZero() {
		return nil, nil
	}
	effective := cfg.Effective()
	cfg = &effective
	if !cfg.UsesCgroup() {
		service = "" // whoever asks for the same may share it
	}
	m.mu.Lock()
	if b := m.find(service, cfg); b != nil {
		m.mu.Unlock()
		if b.wasChecked() {
			return b, nil
		}
		return b, b.check()
	}
	s, err := m.share()
	m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	b, err := m.newChecked(s, service, cfg, nil)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if other := m.find(service, cfg); other != nil { // of one who has asked at the same time
		b.close()
		return other, nil
	}
	m.boxes = append(m.boxes, b)
	return b, nil
}

// newChecked makes a box and tries it.
func (m *Manager) newChecked(s *shared, service string, cfg *config.Box, learner *observe.Learner) (*Box, error) {
	b, err := newBox(m, s, service, cfg, learner)
	if err != nil {
		return nil, err
	}
	if err := b.check(); err != nil {
		b.close()
		return nil, err
	}
	if m.closed.Load() {
		b.close()
		return nil, errClosed
	}
	return b, nil
}

// find returns the box that there is of a configuration, which must be Effective, or
// nil. The lock is held.
func (m *Manager) find(service string, cfg *config.Box) *Box {
	for _, b := range m.boxes {
		if b.service == service && !b.former && !b.learns() && reflect.DeepEqual(&b.cfg, cfg) {
			return b
		}
	}
	return nil
}

// beginStart says that something is about to be started, which Close and Pause wait for
// until endStart. While the Manager is paused it waits. It fails when nothing may be
// started any more.
func (m *Manager) beginStart() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.paused && !m.closed.Load() {
		m.starts.Wait()
	}
	if m.closed.Load() {
		return errClosed
	}
	m.starting++
	return nil
}

func (m *Manager) endStart() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.starting--
	m.starts.Broadcast()
}

var errClosed = errors.New("the master ends")

// pool returns the user ids of a range, which all boxes share.
func (m *Manager) pool(r config.UserRange) (*userpool.Pool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.pools[r]; p != nil {
		return p, nil
	}
	p, err := m.users.New(r.First, r.Last)
	if err != nil {
		return nil, err
	}
	m.pools[r] = p
	return p, nil
}

// Use tells which boxes the services in force have. The others are closed once
// nothing runs in them.
func (m *Manager) Use(inForce []process.Box) {
	m.mu.Lock()
	defer m.mu.Unlock()
	used := map[process.Box]bool{}
	for _, b := range inForce {
		used[b] = true
		// It is missing if Use was called since Box has made it.
		if own := b.(*Box); !slices.Contains(m.boxes, own) {
			m.boxes = append(m.boxes, own)
		}
	}
	m.boxes = slices.DeleteFunc(m.boxes, func(b *Box) bool {
		// A box that comes to an end stays here, so that it is found again.
		return b.setUsed(used[b]) && !used[b]
	})
	maps.DeleteFunc(m.pools, func(_ config.UserRange, p *userpool.Pool) bool {
		return !slices.ContainsFunc(m.boxes, func(b *Box) bool { return b.users == p })
	})
}

// HolderReaped takes in that a child of this process was reaped. It reports whether
// that was a process of a box and no worker.
func (m *Manager) HolderReaped(pid int) bool {
	m.mu.Lock()
	cells := m.holders[pid]
	// Another holder may have the number by now.
	i := slices.IndexFunc(cells, (*cell).ended)
	if i < 0 {
		probe := m.probes[pid]
		delete(m.probes, pid)
		m.mu.Unlock()
		return probe
	}
	c := cells[i]
	if cells = slices.Delete(cells, i, i+1); len(cells) == 0 {
		delete(m.holders, pid)
	} else {
		m.holders[pid] = cells
	}
	m.mu.Unlock()
	c.gone()
	return true
}

// IsHolder reports whether a pid is that of a process of a box and no worker's.
func (m *Manager) IsHolder(pid int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.holders[pid]) > 0 || m.probes[pid]
}

// addHolder has a cell's first process known. It reports false if the process was
// reaped already.
func (m *Manager) addHolder(c *cell) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.ended() {
		return false
	}
	m.holders[c.pid] = append(m.holders[c.pid], c)
	return true
}

// closeTimeout bounds how long Close waits for the end of the cells.
const closeTimeout = 5 * time.Second

// closePause is how long Close waits for one cell before it looks for other children.
const closePause = 10 * time.Millisecond

// Close ends all cells and waits for them. What is being started is waited for, and
// nothing is started any more. Nobody else may reap children of this process: Close
// reaps all that end meanwhile.
func (m *Manager) Close() {
	m.mu.Lock()
	m.closed.Store(true)
	boxes := m.boxes
	m.boxes = nil
	m.starts.Broadcast()
	for m.starting > 0 {
		m.starts.Wait()
	}
	held := m.carry.groups // of a Manager that was restored and not resumed
	m.carry = carried{}
	m.mu.Unlock()
	m.janitor.stop()
	for _, b := range boxes {
		b.inspectLeft()
	}
	m.endCells()
	for _, b := range boxes {
		b.close()
	}
	for _, g := range held {
		g.close()
	}
	m.groups.close()
	m.mu.Lock()
	s := m.shared
	m.shared = nil
	m.mu.Unlock()
	if s != nil {
		s.close()
	}
}

// endCells kills the cells and reaps their first processes. A cell cannot end before
// each child of this process in it was reaped, whoever has started that
// (zap_pid_ns_processes in kernel/pid_namespace.c).
func (m *Manager) endCells() {
	m.mu.Lock()
	for _, cells := range m.holders {
		for _, c := range cells {
			c.kill()
		}
	}
	m.mu.Unlock()
	for deadline := time.Now().Add(closeTimeout); time.Now().Before(deadline); {
		m.mu.Lock()
		var holder *cell
		for _, cells := range m.holders {
			holder = cells[0]
			break
		}
		probes := len(m.probes) // which check has killed
		m.mu.Unlock()
		poll := []unix.PollFd{{Fd: -1, Events: unix.POLLIN}}
		switch {
		case holder != nil:
			if holder.parked == nil {
				poll[0].Fd = int32(holder.pidfd)
			}
		case probes == 0:
			return
		}
		_, _ = unix.Poll(poll, int(closePause/time.Millisecond))
		for exit, ok := process.Wait(process.AnyChild); ok; exit, ok = process.Wait(process.AnyChild) {
			m.HolderReaped(exit.Pid)
		}
	}
}
