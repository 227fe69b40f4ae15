package box

import (
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/config"
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
		{name: "kill nobody", do: "look", lives: true},
		{name: "log", edit: func(b *config.Box) { b.SystemCallsAction = config.SystemCallsLog }, do: "swapoff", denied: []string{"swapoff"}, lives: true},
		{name: "log a child", edit: func(b *config.Box) { b.SystemCallsAction = config.SystemCallsLog }, do: "swapoff in a child", denied: []string{"swapoff"}, lives: true},
		{name: "errno", edit: func(b *config.Box) { b.SystemCallsAction = config.SystemCallsErrno }, do: "swapoff", lives: true},
		{name: "kill without cells", edit: func(b *config.Box) { *b = basic() }, do: "swapoff", denied: []string{"swapoff"}, killed: true},
	} {
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
				if test.lives && (x.Status.ExitStatus() != 0 || !test.killed && v.Err != "") || !test.lives && x.Status.Signal() != unix.SIGKILL {
					t.Errorf("it ends with %v, %s", x.Status, v.Err)
				}
			}
		})
	}
}

// basic returns a box without anything of a cell's own that ends who makes a denied call.
func basic() config.Box {
	b := config.PresetBox(config.BoxBasic)
	b.SystemCallsAction = config.SystemCallsKill
	return b
}
