package box

import (
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/process"
)

// The name of a call that the policy denies is known: where it ends the program, where it
// is let go on, and also if a thread or a child of the program makes it.
func TestDenied(t *testing.T) {
	for _, test := range []struct {
		name   string
		edit   func(*config.Box)
		do     string
		denied []string
		killed bool // somebody
		lives  bool // the program itself
	}{
		{name: "kill", do: "swapoff", denied: []string{"swapoff"}, killed: true},
		{name: "kill a thread", do: "swapoff on a thread", denied: []string{"swapoff"}, killed: true},
		{name: "kill a child", do: "swapoff in a child", denied: []string{"swapoff"}, killed: true, lives: true},
		{name: "kill for another architecture", do: "x32", denied: []string{"foreign architecture"}, killed: true},
		{name: "kill with few descriptors", edit: func(b *config.Box) { b.Limits["nofile"] = config.Limit{Soft: 8, Hard: 8} }, do: "swapoff"},
		{name: "kill nobody", do: "look", lives: true},
		{name: "log", edit: func(b *config.Box) { b.SystemCallsAction = config.SystemCallsLog }, do: "swapoff", denied: []string{"swapoff"}, lives: true},
		{name: "log a child", edit: func(b *config.Box) { b.SystemCallsAction = config.SystemCallsLog }, do: "swapoff in a child", denied: []string{"swapoff"}, lives: true},
		{name: "errno", edit: func(b *config.Box) { b.SystemCallsAction = config.SystemCallsErrno }, do: "swapoff", lives: true},
		{name: "kill without cells", edit: func(b *config.Box) { *b = basic() }, do: "swapoff", denied: []string{"swapoff"}, killed: true},
	} {
		if test.do == "x32" && runtime.GOARCH != "amd64" {
			continue // which alone has it
		}
		t.Run(test.name, func(t *testing.T) {
			h := open(t)
			cfg := strict(t)
			cfg.SystemCallsAction = config.SystemCallsKill
			if test.edit != nil {
				test.edit(&cfg)
			}
			c := h.command(h.box(cfg))
			if !cfg.PrivatePIDs {
				var err error
				if c.Path, err = os.Executable(); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 { // the cell may be the same
				w, err := h.start(c, test.do)
				if err != nil {
					t.Fatal(err)
				}
				v, _ := w.view()
				x, err := w.wait()
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(x.denied.Calls, test.denied) || x.denied.Killed != test.killed || x.failure != nil {
					t.Errorf("%+v, %v", x.denied, x.failure)
				}
				signal := unix.SIGKILL
				if len(test.denied) == 0 {
					signal = unix.SIGSYS // the kernel's own
				}
				if test.lives && (x.Status.ExitStatus() != 0 || !test.killed && v.Err != "") || !test.lives && x.Status.Signal() != signal {
					t.Errorf("it ends with %v, %s", x.Status, v.Err)
				}
			}
		})
	}
}

// What is learned in a box is what its program and the children of that use. What the box
// denies stays denied, and by its own action.
func TestLearn(t *testing.T) {
	h := open(t)
	for _, test := range []struct {
		action config.SystemCallsAction
		do     string
		used   bool // swapoff
		denied uint64
		killed bool
	}{
		{config.SystemCallsErrno, "swapoff", false, 1, false},
		{config.SystemCallsErrno, "swapoff in a child", false, 1, false},
		{config.SystemCallsKill, "swapoff", false, 1, true},
		{config.SystemCallsLog, "swapoff", true, 0, false},
		{config.SystemCallsErrno, "look", false, 0, false},
	} {
		cfg := strict(t)
		cfg.SystemCallsAction = test.action
		like := h.box(cfg)
		l, err := h.m.Learn("test", like)
		if err != nil {
			t.Fatal(err)
		}
		h.m.Use([]process.Box{like, l.Box()})
		if r := l.Result(); r.Processes != 0 || len(r.Calls) != 0 {
			t.Errorf("%s, %s: the try of the box was learned from: %+v", test.action, test.do, r)
		}
		c := h.command(like)
		c.Box = l.Box()
		w, err := h.start(c, test.do)
		if err != nil {
			t.Fatal(err)
		}
		v, _ := w.view()
		x, err := w.wait()
		if err != nil || x.failure != nil {
			t.Fatal(err, x.failure)
		}
		r := l.Result()
		if slices.Contains(r.Calls, "swapoff") != test.used || r.Denied["swapoff"] != test.denied || r.Processes != 1 || !slices.Contains(r.Calls, "read") {
			t.Errorf("%s, %s: %+v", test.action, test.do, r)
		}
		if x.Status.Signaled() != test.killed || !test.killed && v.Err != "" {
			t.Errorf("%s, %s: it ends with %v, %s", test.action, test.do, x.Status, v.Err)
		}
		// The box itself is another one, and the same as before.
		if again := h.box(cfg); again != like {
			t.Errorf("%s, %s: the box is not found any more", test.action, test.do)
		}
		h.m.Use([]process.Box{like})
	}
}

// What a box has no room for, or the master has no right to, is said when learning begins.
func TestCannotLearn(t *testing.T) {
	h := open(t)
	cfg := strict(t)
	cfg.Limits["nofile"] = config.Limit{Soft: 8, Hard: 8}
	if _, err := h.m.Learn("test", h.box(cfg)); err == nil || !strings.Contains(err.Error(), "limit-nofile 8: 11 descriptors") {
		t.Errorf("with few descriptors: %v", err)
	}
}

// basic returns a box without anything of a cell's own that ends who makes a denied call.
func basic() config.Box {
	b := config.PresetBox(config.BoxBasic)
	b.SystemCallsAction = config.SystemCallsKill
	return b
}
