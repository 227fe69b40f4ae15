package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// A user without XDG_RUNTIME_DIR has a control socket, too, and every command
// finds it.
func TestControlSocketWithoutRuntimeDirectory(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	// A user whom nobody else has, on a machine that others may use.
	uid := uint32(1<<20 + os.Getpid())
	dir := fmt.Sprintf("/tmp/preforkd-%d", uid)
	path := filepath.Join(dir, "control.sock")
	t.Cleanup(func() { os.RemoveAll(dir) })
	as := systest.Options{
		Control: true, Args: []string{"--", "/bin/cat"}, Dir: "/",
		Env:  []string{"RUNTIME_DIRECTORY=", "XDG_RUNTIME_DIR=/run/user/0"}, // as after su
		Attr: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}},
	}
	if r := as.Run(t, "status"); r.Code != exitNotRunning || !strings.HasSuffix(r.Stderr, "no preforkd listens at "+path+"\n") {
		if _, err := os.Lstat("/run/preforkd/control.sock"); err != nil {
			t.Errorf("%+v", r)
		}
	}
	m := as.Start(t)
	if e := m.WaitFor(t, systest.Is("control")); e.Local != "unix:"+path || e.Level != "info" {
		t.Errorf("%s", e.Line)
	}
	if info, err := os.Lstat(dir); err != nil || info.Mode() != os.ModeDir|0o700 {
		t.Errorf("%v, %v", info, err)
	}
	c := m.Dial(t)
	c.Echo(t, "hello")
	conn := c.Accepted(t).Conn
	for _, line := range []string{"status --check", "explain ::1", "log-level debug", "kill " + conn, "drain cat", "resume cat"} {
		if r := as.Run(t, strings.Fields(line)...); r.Code != 0 || r.Stderr != "" {
			t.Errorf("%s: %+v", line, r)
		}
	}
	if r := as.Run(t, "reload"); r.Code != 1 || !strings.Contains(r.Stderr, "nothing to reload") {
		t.Errorf("%+v", r)
	}
	if r := as.Run(t, "__complete", "drain", ""); !strings.HasPrefix(r.Stdout, "cat\t") {
		t.Errorf("%+v", r)
	}
	m.Baseline(t) // the listener is another one
	m.Stop(t)
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}

	// Whoever has made the directory before may not be trusted: there is no
	// control socket there, and no client asks.
	if err := os.Chown(dir, 0, 0); err != nil {
		t.Fatal(err)
	}
	m = as.Start(t)
	want := fmt.Sprintf("%s belongs to uid 0, and not to uid %d", dir, uid)
	if e := m.WaitFor(t, systest.Is("control")); e.Level != "warn" || !strings.Contains(e.Error, want) {
		t.Errorf("%s", e.Line)
	}
	if r := as.Run(t, "drain"); r.Code != 1 || strings.Contains(r.Stderr, dir) {
		t.Errorf("%+v", r)
	}
}
