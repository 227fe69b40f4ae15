package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

func init() {
	systest.Register("lock", func(args []string) int { return holdLock(args[0]) })
}

// holdLock locks a file or directory, says so on its output, and keeps the lock
// until its input ends.
func holdLock(path string) int {
	fd, err := unix.Open(path, unix.O_RDONLY, 0)
	if err != nil {
		return fail("open: %v", err)
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fail("lock: %v", err)
	}
	os.Stdout.WriteString("locked")
	os.Stdin.Read(make([]byte, 1))
	return 0
}

// A user who may only read the directories of the sockets locks them. The master
// starts, reloads and stops all the same.
func TestDirectoryLockedByNobody(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	dir, runtime := systest.Dir(t), systest.Dir(t)
	// Nobody may not enter the directory of the test program.
	helper := filepath.Join(systest.Dir(t), "helper")
	systest.CopyProgram(t, systest.Helper("lock")[0], helper)
	for _, locked := range []string{dir, runtime} {
		line := systest.Helper("lock", locked)
		cmd := exec.Command(helper, line[1:]...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { in.Close(); cmd.Wait() })
		if _, err := out.Read(make([]byte, 10)); err != nil {
			t.Fatalf("nobody cannot lock the directory: %v", err)
		}
	}
	path, other := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	control := "[master]\ncontrol = \"" + runtime + "/control.sock\"\n"
	m := configured(t, 1, control+at("one", []string{"unix:" + path}, catting))
	m.Dial(t).Echo(t, "hello")
	reloaded(t, m, control+at("one", []string{"unix:" + path, "unix:" + other}, catting))
	m.DialTo(t, "unix", other).Echo(t, "hello")
	reloaded(t, m, "[master]\ncontrol = \""+runtime+"/other.sock\"\n"+at("one", []string{"unix:" + path}, catting))
	if _, err := os.Lstat(other); err == nil {
		t.Error("the socket of a removed listener is left")
	}
	m.StopSignal = syscall.SIGQUIT
}

// Masters of the same user wait for each other. A reload that meets another one
// is done a little later.
func TestReloadWaitsForLock(t *testing.T) {
	t.Parallel()
	dir := systest.Dir(t)
	ports := held(t, 1)
	m := configured(t, 1, at("one", ports, catting))
	lock := filepath.Join(dir, ".preforkd-"+strconv.Itoa(os.Geteuid())+".lock")
	file, err := os.OpenFile(lock, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	m.WriteConfig(t, at("one", append(ports, "unix:"+dir+"/s"), catting))
	m.Signal(t, syscall.SIGHUP)
	for range 3 { // the loop is not held up
		m.DialTo(t, "tcp", ports[0]).Echo(t, "hello")
		looked(t, m)
	}
	if n := len(m.Events(systest.Is(systest.Reloaded))); n != 0 {
		t.Error("reloaded beside another master")
	}
	file.Close()
	m.WaitFor(t, systest.Is(systest.Reloaded))
	m.DialTo(t, "unix", dir+"/s").Echo(t, "hello")
	if left, _ := filepath.Glob(dir + "/.*"); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	m.StopSignal = syscall.SIGQUIT
}
