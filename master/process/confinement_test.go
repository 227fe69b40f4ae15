package process

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/ipc/needtest"
	"github.com/preforkd/preforkd/ipc/slowtest"
)

// A process that may do less is told from one that may do as much.
func TestMoreConfined(t *testing.T) {
	needtest.Root(t)
	setpriv, sleep := needtest.Program(t, "setpriv"), needtest.Program(t, "sleep")
	for name, c := range map[string]struct {
		args []string
		attr *syscall.SysProcAttr
		want string
	}{
		"the same":         {args: []string{sleep, "1000"}},
		"no_new_privs":     {args: []string{setpriv, "--no-new-privs", sleep, "1000"}, want: "has no_new_privs"},
		"fewer":            {args: []string{setpriv, "--bounding-set=-kill", sleep, "1000"}, want: "lacks capabilities (0x20)"},
		"another user":     {args: []string{setpriv, "--reuid=65534", sleep, "1000"}, want: "lacks capabilities"},
		"user namespace":   {args: []string{sleep, "1000"}, attr: &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER}, want: "is in another user namespace"},
		"pid of a process": {},
	} {
		t.Run(name, func(t *testing.T) {
			if c.args == nil {
				if how, err := MoreConfined(os.Getpid()); how != "" || err != nil {
					t.Errorf("this one %s, %v", how, err)
				}
				if _, err := MoreConfined(0); err == nil {
					t.Error("there is a process 0")
				}
				return
			}
			cmd := exec.Command(c.args[0], c.args[1:]...)
			cmd.SysProcAttr = c.attr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Wait()
			defer cmd.Process.Kill()
			slowtest.Await(t, "sleep", func() bool {
				name, _ := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/comm")
				return string(name) == "sleep\n"
			})
			how, err := MoreConfined(cmd.Process.Pid)
			if err != nil || !strings.HasPrefix(how, c.want) || c.want == "" && how != "" {
				t.Errorf("it %q, %v; want %q", how, err, c.want)
			}
		})
	}
}
