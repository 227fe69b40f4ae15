package box

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/slowtest"
	"github.com/preforkd/preforkd/master/box/boxtest"
	"github.com/preforkd/preforkd/master/box/cgroup"
	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/fdpark"
	"github.com/preforkd/preforkd/master/process"
)

// envStage says to TestCellsGoOver which master it is. handedState is the descriptor of what
// the first hands to the second.
const (
	envStage    = "BOX_TEST_STAGE"
	handedState = 100
	saysDone    = "all that went over has ended"
)

// A handed is the whole state of a house.
type handed struct {
	Manager     State
	Workers     []handedWorker
	Descriptors []int
	Cgroup      string // "" where there can be none
}

type handedWorker struct {
	Name    string
	PID     int
	Peer    carry.FD
	Cell    json.RawMessage
	Leaving bool
}

// The cells that live when a master executes another one in its place are that one's: it
// ends what their processes leave, gets what these used, and frees what they had.
func TestCellsGoOver(t *testing.T) {
	switch os.Getenv(envStage) {
	case "":
		needBoxes(t)
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestCellsGoOver$", "-test.v")
		cmd.Env = append(os.Environ(), envStage+"=old")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), saysDone) {
			t.Errorf("%v\n%s", err, out)
		}
	case "old":
		handOver(t)
	case "new":
		takeOver(t)
	}
}

// expected is what is to become of the workers, by their names.
var expected = map[string]struct {
	leftovers bool
	denied    []string
	signal    unix.Signal
}{
	"strict":             {},
	"parked":             {},
	"left, not reaped":   {leftovers: true},
	"left":               {leftovers: true},
	"denied":             {denied: []string{"swapoff"}, signal: unix.SIGKILL},
	"learned":            {},
	"user":               {},
	"cgroup":             {},
	"cgroup alone":       {leftovers: true},
	"cgroup alone, left": {leftovers: true},
	"holder was killed":  {signal: unix.SIGKILL},
	"before the others":  {},
}

// handOver starts what goes over, and executes this program again.
func handOver(t *testing.T) {
	h := build(t)
	d := carry.NewDescriptors()
	var all handed
	strictBox := h.box(strict(t))
	begin := func(name string, c *process.Command, do string) (*process.Child, *handedWorker) {
		t.Helper()
		conn, peer, err := tcpPair()
		if err != nil {
			t.Fatal(err)
		}
		child, err := h.spawner.Start(c, conn, []string{envDo + "=" + do}, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		child.ReleaseHandle()
		conn.Close()
		if do == "wait" {
			w := &worker{peer: peer}
			if _, err := w.view(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		file, err := peer.(*net.TCPConn).File()
		if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			t.Fatal(err)
		}
		peer.Close()
		file.Close()
		all.Workers = append(all.Workers, handedWorker{Name: name, PID: child.Pid, Peer: d.Keep(fd)})
		return child, &all.Workers[len(all.Workers)-1]
	}
	cells := map[string]process.Cell{}
	// It is a zombie when the others begin.
	own, _ := begin("before the others", h.command(strictBox), "look")
	cells["before the others"] = own.Cell

	for _, name := range []string{"strict", "parked", "holder was killed"} {
		child, _ := begin(name, h.command(strictBox), "wait")
		cells[name] = child.Cell
	}
	unix.Kill(cells["holder was killed"].(*cell).pid, unix.SIGKILL)
	park, err := fdpark.Open()
	if err != nil {
		t.Fatal(err)
	}
	near := cells["parked"].Descriptors()
	parked, err := park.Park(near)
	if err != nil {
		t.Fatal(err)
	}
	cells["parked"].Parked(park.Do, parked)
	for _, name := range []string{"left, not reaped", "left"} {
		child, w := begin(name, h.command(strictBox), "orphan")
		cells[name] = child.Cell
		if name == "left" {
			leave(t, child)
			w.Leaving = true
		}
	}
	kills := strict(t)
	kills.SystemCallsAction = config.SystemCallsKill
	child, _ := begin("denied", h.command(h.box(kills)), "wait, swapoff")
	cells["denied"] = child.Cell
	learning, err := h.m.Learn("test", strictBox)
	if err != nil {
		t.Fatal(err)
	}
	child, _ = begin("learned", h.command(learning.Box().(*Box)), "wait")
	cells["learned"] = child.Cell
	withUser := config.PresetBox(config.BoxNone)
	withUser.DynamicUser = true
	cat := h.command(h.box(withUser))
	cat.Path = "/bin/cat"
	child, _ = begin("user", cat, "")
	cells["user"] = child.Cell
	if all.Cgroup = ownCgroup(t, h.m); all.Cgroup != "" {
		child, _ = begin("cgroup", h.command(counted(t, h.m, strict(t))), "wait")
		cells["cgroup"] = child.Cell
		sh := h.command(counted(t, h.m, basic()))
		sh.Path, sh.Args = "/bin/sh", []string{"sh", "-c", "setsid sleep 1000 </dev/null >/dev/null 2>&1 & read x"}
		child, _ = begin("cgroup alone", sh, "")
		cells["cgroup alone"] = child.Cell
		if err := h.m.janitor.pause(time.Now()); err != nil { // which would empty it at once
			t.Fatal(err)
		}
		again := *sh
		again.Args = []string{"sh", "-c", "setsid sleep 1000 </dev/null >/dev/null 2>&1 &"}
		child, w := begin("cgroup alone, left", &again, "")
		cells["cgroup alone, left"] = child.Cell
		leave(t, child)
		w.Leaving = true
	}
	if err := h.m.Pause(time.Now().Add(slowtest.Scale(time.Minute))); err != nil {
		t.Fatal(err)
	}
	if fds, err := park.TakeBack(cells["parked"].ParkedDescriptors()); err != nil {
		t.Fatal(err)
	} else {
		cells["parked"].TakenBack(fds)
	}
	if all.Manager, err = h.m.Export(d); err != nil {
		t.Fatal(err)
	}
	for i := range all.Workers {
		w := &all.Workers[i]
		if w.Cell, err = h.m.ExportCell(cells[w.Name], d); err != nil {
			t.Fatal(err)
		}
	}
	all.Descriptors = d.Numbers()
	executeNext(t, &all, d)
}

// leave waits for the end of a process and gives its cell back, in which something is left.
func leave(t *testing.T, child *process.Child) {
	t.Helper()
	slowtest.Await(t, "a process has ended", func() bool {
		_, ok := process.Wait(child.Pid)
		return ok
	})
	if _, empty := child.Cell.Leave(func(process.Remains) { t.Error("a cell is over before the exec") }); empty {
		t.Fatal("nothing is left in a cell")
	}
}

// executeNext executes this program again with a state.
func executeNext(t *testing.T, all *handed, d *carry.Descriptors) {
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	memory, err := unix.MemfdCreate("state", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(memory, text); err != nil {
		t.Fatal(err)
	}
	if err := d.Open(); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(all.Descriptors, handedState) {
		t.Fatalf("descriptor %d is in use", handedState)
	}
	if err := unix.Dup3(memory, handedState, 0); err != nil {
		t.Fatal(err)
	}
	unix.Close(memory)
	runtime.LockOSThread()
	t.Fatal(unix.Exec("/proc/self/exe", os.Args, append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, envStage) }), envStage+"=new")))
}

// takeOver restores what went over, and has it end.
func takeOver(t *testing.T) {
	state := os.NewFile(handedState, "state")
	text := make([]byte, 1<<20)
	n, err := state.ReadAt(text, 0)
	if n == 0 {
		t.Fatal(err)
	}
	state.Close()
	var all handed
	if err := json.Unmarshal(text[:n], &all); err != nil {
		t.Fatal(err)
	}
	d, err := carry.Inherited(all.Descriptors)
	if err != nil {
		t.Fatal(err)
	}
	before := len(descriptors(t)) - len(all.Descriptors)
	h := build(t)
	if err := h.m.Restore(&all.Manager, d); err != nil {
		t.Fatal(err)
	}
	cells := map[string]*cell{}
	for _, w := range all.Workers {
		c, err := h.m.RestoreCell(w.Cell, d)
		if err != nil {
			t.Fatalf("%s: %v", w.Name, err)
		}
		cells[w.Name] = c.(*cell)
	}
	isSame(t, h.m, &all, cells)

	// The configuration is put in force before anything else happens.
	b := h.box(strict(t))
	h.m.Use([]process.Box{b})
	users := map[uint32]bool{}
	for name, c := range cells {
		if c.dynamicUser && users[c.uid] {
			t.Errorf("%s: has the uid of another", name)
		}
		users[c.uid] = true
	}
	workers := map[string]*worker{}
	for _, one := range all.Workers {
		peer, err := d.Take(one.Peer)
		if err != nil {
			t.Fatal(err)
		}
		file := os.NewFile(uintptr(peer), "peer")
		w := &worker{command: h.command(b), child: &process.Child{Pid: one.PID, Control: -1, Cell: cells[one.Name]}, over: make(chan exit, 1)}
		if w.peer, err = net.FileConn(file); err != nil {
			t.Fatal(err)
		}
		file.Close()
		workers[one.Name] = w
		if !one.Leaving {
			h.workers[one.PID] = w
			continue
		}
		if _, empty := w.child.Cell.Leave(func(r process.Remains) { w.over <- exit{leftovers: r.Leftovers, usage: r.Usage} }); empty {
			t.Errorf("%s: the cell is empty", one.Name)
		}
	}
	if left := d.Untaken(); len(left) > 0 {
		t.Errorf("nobody has taken the descriptors %v", left)
	}
	h.m.Resume()
	go h.loop()
	for name, w := range workers {
		x, err := w.wait()
		want := expected[name]
		if err != nil || x.failure != nil || (x.leftovers > 0) != want.leftovers || !slices.Equal(x.denied.Calls, want.denied) {
			t.Errorf("%s: %+v, %v", name, x, err)
		}
		if strings.HasPrefix(name, "cgroup") != (x.usage != nil) {
			t.Errorf("%s: has used %+v", name, x.usage)
		}
		if x.Pid != 0 && (want.signal != 0) != x.Status.Signaled() {
			t.Errorf("%s: ends with %v", name, x.Status)
		}
	}
	// The new box works beside.
	h.run(h.command(b), "look")
	h.await("something of the earlier master is left", func() bool {
		h.m.Use([]process.Box{b})
		h.m.mu.Lock()
		defer h.m.mu.Unlock()
		former := slices.ContainsFunc(h.m.boxes, func(b *Box) bool { return b.former })
		for _, some := range h.m.holders {
			former = former || slices.ContainsFunc(some, func(c *cell) bool { return c.box.former })
		}
		return !former
	})
	h.settle() // nothing of the new box has a uid then
	for uid := range users {
		if uid == 0 {
			continue
		}
		if err := h.m.users.Claim(uid); err != nil {
			t.Error(err)
		}
	}
	h.close()
	if all.Cgroup != "" {
		if left, _ := filepath.Glob(all.Cgroup + "/service-*"); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
		if err := unix.Rmdir(all.Cgroup); err != nil {
			t.Error(err)
		}
	}
	for _, pid := range boxtest.Children(t) {
		t.Errorf("process %d is left", pid)
	}
	slowtest.Await(t, "descriptors are closed", func() bool { return len(descriptors(t)) <= before })
	if !t.Failed() {
		fmt.Println(saysDone)
	}
}

// isSame checks that what was restored is what was exported.
func isSame(t *testing.T, m *Manager, all *handed, cells map[string]*cell) {
	t.Helper()
	again := carry.NewDescriptors()
	s, err := m.Export(again)
	if err != nil {
		t.Fatal(err)
	}
	was, _ := json.Marshal(all.Manager)
	is, _ := json.Marshal(s)
	if string(was) != string(is) {
		t.Errorf("exported was\n%s\nand is\n%s", was, is)
	}
	for _, w := range all.Workers {
		text, err := m.ExportCell(cells[w.Name], again)
		if err != nil {
			t.Fatal(err)
		}
		var was, is any
		if json.Unmarshal(w.Cell, &was) != nil || json.Unmarshal(text, &is) != nil || !reflect.DeepEqual(was, is) {
			t.Errorf("%s: exported was\n%s\nand is\n%s", w.Name, w.Cell, text)
		}
		again.Keep(int(w.Peer))
	}
	if !slices.Equal(again.Numbers(), all.Descriptors) {
		t.Errorf("descriptors were %v and are %v", all.Descriptors, again.Numbers())
	}
}

// ownCgroup gives a Manager a cgroup to divide, and returns its path, or "" where there can
// be none. It has no controllers.
func ownCgroup(t *testing.T, m *Manager) string {
	t.Helper()
	var root string
	for _, path := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var fs unix.Statfs_t
		if unix.Statfs(path, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
			root = path
		}
	}
	path := filepath.Join(root, fmt.Sprintf("preforkd-test-%d", os.Getpid()))
	if root == "" || unix.Mkdir(path, 0o755) != nil {
		t.Log("no cgroup can be made here")
		return ""
	}
	lock, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	d := carry.NewDescriptors()
	if _, err := m.groups.restore(&cgroup.State{Path: path, Own: root, Lock: d.Keep(lock)}, d); err != nil {
		t.Fatal(err)
	}
	return path
}

// counted returns a box whose processes are in cgroups without limits.
func counted(t *testing.T, m *Manager, cfg config.Box) *Box {
	t.Helper()
	cfg = cfg.Effective()
	b, err := newBox(m, m.shared, "test", &cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.set.counted = true
	m.mu.Lock()
	defer m.mu.Unlock()
	m.boxes = append(m.boxes, b)
	return b
}
