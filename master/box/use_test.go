package box

import (
	"errors"
	"sync"
	"testing"

	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/process"
)

// A box that no service has is closed when nothing is in it, and is made again when
// something is started.
func TestUse(t *testing.T) {
	h := open(t)
	b := h.box(strict(t))
	c := h.command(b)
	closed := func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.template == nil && b.live == 0 && len(b.idle) == 0 && len(b.entries) == 0
	}
	h.m.Use([]process.Box{b})
	w, err := h.start(c, "wait")
	if err != nil {
		t.Fatal(err)
	}
	h.m.Use(nil)
	if _, err := w.view(); err != nil {
		t.Errorf("a process does not outlive the use of its box: %v", err)
	}
	if closed() {
		t.Error("a box is closed with a process in it")
	}
	if again := h.box(strict(t)); again != b {
		t.Error("a box with a process in it is not found again")
	}
	if _, err := w.wait(); err != nil {
		t.Fatal(err)
	}
	h.m.Use(nil)
	h.await("the box is not closed", closed)
	h.run(c, "look") // of a connection that was admitted before
	h.await("the box is not closed again", closed)
}

// Services whose boxes have the same effect share one, with all that it is made of,
// however they are written.
func TestSharedByEffect(t *testing.T) {
	h := open(t)
	b := h.box(strict(t))
	same := strict(t)
	same.Preset, same.Optional = config.BoxNone, []string{"private-tmp"}
	same.SystemCalls = []string{"@strict"}
	if other := h.box(same); other != b || other.template == nil {
		t.Error("the same, written otherwise, is another box")
	}
	same.DynamicUser = false
	named := h.box(same)
	same.UserPool = config.UserRange{First: 700_000, Last: 700_001} // of nobody
	if other := h.box(same); other != named || named == b {
		t.Error("a pool that nobody is out of makes another box")
	}
	same.PrivateTmpSize /= 2
	if other := h.box(same); other == named {
		t.Error("another size of /tmp makes no other box")
	}
}

// Idle cells that nobody needs end, and so do the entries of programs that nobody
// starts any more.
func TestGrowth(t *testing.T) {
	h := open(t)
	b := h.box(strict(t))
	c := h.command(b)
	var workers []*worker
	for range 6 {
		w, err := h.start(c, "wait")
		if err != nil {
			t.Fatal(err)
		}
		workers = append(workers, w)
	}
	for _, w := range workers {
		w.view()
		if _, err := w.wait(); err != nil {
			t.Fatal(err)
		}
	}
	h.settle()
	if n := len(b.idlePIDs()); n < 6 {
		t.Fatalf("%d cells are idle", n)
	}
	b.trim()
	h.run(c, "look")
	h.settle()
	b.trim()
	h.await("more cells are idle than were needed", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.idle) > 0 && len(b.idle) <= 2 && b.live == len(b.idle)
	})

	old := *c
	old.Directory = "/usr"
	h.run(&old, "look")
	for range 3 {
		h.m.Use([]process.Box{b})
		h.run(c, "look")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.entries) != 1 {
		t.Errorf("%d entries are kept, and one program is started", len(b.entries))
	}
}

// The same configuration is the same box, also when several ask at once.
func TestEqualConfigurations(t *testing.T) {
	h := open(t)
	cfg := strict(t)
	boxes := make([]*Box, 8)
	var group sync.WaitGroup
	for i := range boxes {
		group.Go(func() {
			own := cfg
			b, err := h.m.Box("", &own)
			if err != nil {
				t.Error(err)
				return
			}
			boxes[i] = b.(*Box)
		})
	}
	group.Wait()
	for _, b := range boxes {
		if b != boxes[0] {
			t.Error("equal configurations have two boxes")
		}
	}
	other := cfg
	other.PrivateTmpSize /= 2
	if h.box(other) == boxes[0] {
		t.Error("two configurations have one box")
	}
	if b, err := h.m.Box("", &config.Box{}); b != nil || err != nil {
		t.Errorf("a service without a box has %v, %v", b, err)
	}
}

// A reload may change a pool into one that overlaps it, while processes still have
// users of the old one.
func TestPoolChanges(t *testing.T) {
	h := open(t)
	cfg := strict(t)
	cfg.UserPool.Last = cfg.UserPool.First + 1
	old := h.box(cfg)
	w, err := h.start(h.command(old), "wait")
	if err != nil {
		t.Fatal(err)
	}
	before, err := w.view()
	if err != nil {
		t.Fatal(err)
	}
	cfg.UserPool.Last++
	b := h.box(cfg)
	h.m.Use([]process.Box{b})
	for range 4 {
		// What has tried the box, or was in it before, has a user until it was reaped.
		h.await("a user is kept", func() bool { return b.users.InUse() == 0 })
		if r := h.run(h.command(b), "look"); r.view.UID == before.UID {
			t.Errorf("two processes have the uid %d", r.view.UID)
		}
	}
	if _, err := w.wait(); err != nil {
		t.Fatal(err)
	}
	h.await("the old pool is kept", func() bool {
		h.m.Use([]process.Box{b})
		h.m.mu.Lock()
		defer h.m.mu.Unlock()
		return len(h.m.pools) == 1
	})
}

// Each process has a user id for as long as it runs. When all are lent, a start
// fails, and another succeeds when one is given back.
func TestUsersExhausted(t *testing.T) {
	h := open(t)
	cfg := strict(t)
	cfg.UserPool.Last = cfg.UserPool.First + 1
	b := h.box(cfg)
	c := h.command(b)
	h.await("the ids of the first try are not given back", func() bool { return b.users.InUse() == 0 })
	var workers []*worker
	for range 2 {
		w, err := h.start(c, "wait")
		if err != nil {
			t.Fatal(err)
		}
		workers = append(workers, w)
	}
	if _, err := h.start(c, "look"); !errors.Is(err, process.ErrBoxFull) {
		t.Errorf("a third process of two users: %v", err)
	}
	for _, w := range workers {
		w.view()
		w.wait()
	}
	h.await("ids are lent, and nothing runs", func() bool { return b.users.InUse() == 0 })
	h.run(c, "look")
}
