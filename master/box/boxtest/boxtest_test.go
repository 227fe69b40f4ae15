package boxtest

import (
	"os"
	"os/exec"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/needtest"
	"github.com/preforkd/preforkd/ipc/slowtest"
)

func TestProcesses(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	if !slices.Contains(Children(t), pid) || IsZombie(pid) || Ended(pid) {
		t.Errorf("it runs: children %d, a zombie %v, ended %v", Children(t), IsZombie(pid), Ended(pid))
	}
	cmd.Process.Kill()
	slowtest.Await(t, "it is a zombie", func() bool { return IsZombie(pid) })
	if !slices.Contains(Children(t), pid) || !Ended(pid) {
		t.Errorf("it is a zombie: children %d, ended %v", Children(t), Ended(pid))
	}
	cmd.Wait()
	if slices.Contains(Children(t), pid) || IsZombie(pid) || !Ended(pid) {
		t.Errorf("it is reaped: children %d, a zombie %v, ended %v", Children(t), IsZombie(pid), Ended(pid))
	}
}

// What runs inside sees another namespace than what runs before and after.
func TestInside(t *testing.T) {
	unshare := needtest.Program(t, "unshare")
	cmd := exec.Command(unshare, "-u", "sh", "-c", "echo ready; exec cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer stdin.Close()
	if n, err := stdout.Read(make([]byte, 6)); n == 0 {
		needtest.SkipAnywhere(t, "needs the right to make a UTS namespace: "+err.Error())
	}
	outside, inside := namespace(t), ""
	err = InsideProcess(cmd.Process.Pid, unix.CLONE_NEWUTS, func() error {
		inside = namespace(t)
		return unix.ENOENT
	})
	if err != unix.ENOENT {
		t.Errorf("the error is %v, and not that of what was called", err)
	}
	if inside == outside || inside == "" || namespace(t) != outside {
		t.Errorf("inside %s, outside %s and then %s", inside, outside, namespace(t))
	}
}

func namespace(t *testing.T) string {
	t.Helper()
	link, err := os.Readlink("/proc/thread-self/ns/uts")
	if err != nil {
		t.Error(err)
	}
	return link
}
