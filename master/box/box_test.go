package box

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/box/boxtest"
	"github.com/preforkd/preforkd/master/process"
)

// Two processes that live at once share nothing of a strict box.
func TestStrictCells(t *testing.T) {
	h := open(t)
	b := h.box(strict(t))
	c := h.command(b)
	own := look()
	var views []view
	var workers []*worker
	for range 2 {
		w, err := h.start(c, "wait")
		if err != nil {
			t.Fatal(err)
		}
		v, err := w.view()
		if err != nil || v.Err != "" {
			t.Fatal(err, v.Err)
		}
		views, workers = append(views, v), append(workers, w)
	}
	for _, w := range workers {
		if x, err := w.wait(); err != nil || x.Status.ExitStatus() != 0 || x.leftovers != 0 {
			t.Errorf("%+v %v", x, err)
		}
	}
	for i, v := range views {
		other := views[1-i]
		if v.UID == other.UID || v.GID != v.UID || !slices.Contains(poolOf(b), uint32(v.UID)) || v.PID != 2 || len(v.Tmp) > 0 || v.Directory != "/" {
			t.Errorf("a process is %+v beside %+v", v, other)
		}
		for name, n := range v.Namespaces {
			if n == other.Namespaces[name] || n == own.Namespaces[name] || n == "" {
				t.Errorf("the %s namespace is %q beside %q, the master's is %q", name, n, other.Namespaces[name], own.Namespaces[name])
			}
		}
	}
}

func poolOf(b *Box) (uids []uint32) {
	for u := b.cfg.UserPool.First; u <= b.cfg.UserPool.Last; u++ {
		uids = append(uids, u)
	}
	return uids
}

// isIdle reports whether a cell can be handed out, when the janitor has seen it.
func (h *house) isIdle(b *Box, holder int) bool {
	h.settle()
	return slices.Contains(b.idlePIDs(), holder)
}

// A cell in which nothing happened is handed out again. So is one whose private
// file systems were written to, and they are empty.
func TestReuse(t *testing.T) {
	h := open(t)
	b := h.box(strict(t))
	c := h.command(b)
	for _, do := range []string{"look", "touch", "touch and remove"} {
		first := h.run(c, do)
		if !first.kept || !h.isIdle(b, first.holder) {
			t.Errorf("after %q the cell was not kept", do)
		}
		second := h.runIn(c, first.holder)
		if second == nil {
			t.Fatalf("after %q nobody gets the cell", do)
		}
		if v, err := second.view(); err != nil || len(v.Tmp) > 0 {
			t.Errorf("after %q the next process sees %v, %v", do, v.Tmp, err)
		}
		if _, err := second.wait(); err != nil {
			t.Fatal(err)
		}
		h.settle()
	}
}

// runIn starts processes until one is in the cell of a holder, and returns that one.
// The others have ended.
func (h *house) runIn(c *process.Command, holder int) (in *worker) {
	h.t.Helper()
	var others []*worker
	for range maxIdle {
		w, err := h.start(c, "wait")
		if err != nil {
			h.t.Fatal(err)
		}
		if w.child.Cell.(*cell).pid == holder {
			in = w
			break
		}
		others = append(others, w)
	}
	for _, w := range others {
		w.view()
		if _, err := w.wait(); err != nil {
			h.t.Fatal(err)
		}
	}
	return in
}

// A cell in which something is left is not handed out again.
func TestNoReuse(t *testing.T) {
	h := open(t)
	b := h.box(strict(t))
	withSiblings := strict(t)
	withSiblings.RestrictNamespaces = false
	free := h.box(withSiblings)
	asRoot := strict(t) // whom the directory of the queues belongs to
	asRoot.DynamicUser = false
	root := h.box(asRoot)
	for do, leftovers := range map[string]int{"shm": 0, "sem": 0, "msg": 0, "mq": 0, "mode of mq": 0, "times of mq": 0, "orphan": 1, "sibling": 1} {
		b := b
		switch do {
		case "sibling":
			b = free
		case "mode of mq", "times of mq":
			b = root
		}
		r := h.run(h.command(b), do)
		if h.isIdle(b, r.holder) {
			t.Errorf("after %q the cell is idle", do)
		}
		if r.leftovers != leftovers {
			t.Errorf("after %q there are %d leftovers, want %d", do, r.leftovers, leftovers)
		}
		h.await("a cell does not end", func() bool { return unix.Kill(r.holder, 0) == unix.ESRCH })
	}
}

// Whoever outside has got something of a cell gets nothing of what is in the next one:
// neither what is written to its /tmp, nor who connects to a name in its network.
func TestNoReuseWhileInUse(t *testing.T) {
	h := open(t)
	b := h.box(strict(t))
	h.m.Use([]process.Box{b})
	c := h.command(b)
	for name, take := range map[string]func(own *cell) (fd int, err error){
		"its /tmp": func(own *cell) (int, error) {
			return unix.Open(fmt.Sprintf("/proc/%d/root/tmp", own.pid), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		},
		"a unix socket":    func(own *cell) (int, error) { return socketIn(own, unix.AF_UNIX, unix.SOCK_STREAM) },
		"a socket":         func(own *cell) (int, error) { return socketIn(own, unix.AF_INET6, unix.SOCK_DGRAM) },
		"a netlink socket": func(own *cell) (int, error) { return socketIn(own, unix.AF_NETLINK, unix.SOCK_RAW) },
		"nothing":          func(own *cell) (int, error) { return unix.Dup(0) },
	} {
		w, err := h.start(c, "wait")
		if err != nil {
			t.Fatal(err)
		}
		own := w.child.Cell.(*cell)
		outside, err := take(own)
		if err != nil {
			t.Fatal(err)
		}
		holder := own.pid
		h.finish(w, "wait")
		if idle := h.isIdle(b, holder); idle != (name == "nothing") {
			t.Errorf("with %s outside, the cell is idle: %v", name, idle)
		}
		unix.Close(outside)
	}
}

// socketIn makes a socket in the network namespace of a cell.
func socketIn(own *cell, family, kind int) (fd int, err error) {
	err = boxtest.Inside(own.pidfd, unix.CLONE_NEWNET, func() (err error) {
		fd, err = unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
		return err
	})
	return fd, err
}

// Over a unix socket a program may have sent a descriptor of what is in its cell. Of a
// spare it is known when it gets its connection.
func TestNoReuseAfterUnixSocket(t *testing.T) {
	h := open(t)
	b := h.box(strict(t))
	c := h.command(b)
	conn, peer := unixPair(t)
	w, err := h.startWith(c, "look", conn, peer)
	conn.Close()
	if err != nil {
		t.Fatal(err)
	}
	conn2, peer2 := unixPair(t)
	peer2.Close()
	if r := h.finish(w, "look"); h.isIdle(b, r.holder) {
		t.Error("the cell of a process with a unix socket is idle")
	}
	tcp, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for name, conn := range map[string]*os.File{"unix": conn2, "TCP": os.NewFile(uintptr(tcp), "tcp"), "no": nil} {
		spare := *c
		spare.Control, spare.Stderr = true, h.null // which is its standard output
		if w, err = h.startWith(&spare, "look", nil, nil); err != nil {
			t.Fatal(err)
		}
		own := w.child.Cell.(*cell)
		holder := own.pid
		if conn != nil {
			own.Serves(conn)
			conn.Close()
		}
		x, err := w.wait()
		unix.Close(w.child.Control)
		if err != nil || x.failure != nil {
			t.Fatal(err, x.failure)
		}
		if idle := h.isIdle(b, holder); idle != (name != "unix") {
			t.Errorf("the cell of a spare with %s connection is idle: %v", name, idle)
		}
	}
}

// A program may exit as a failed entry does.
func TestExitCodeOfEntry(t *testing.T) {
	h := open(t)
	if r := h.run(h.command(h.box(strict(t))), "exit 117"); r.Status.ExitStatus() != 117 {
		t.Errorf("the program has exited with %d", r.Status.ExitStatus())
	}
}
