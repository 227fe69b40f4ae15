package process

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/fdtest"
	"github.com/preforkd/preforkd/ipc/needtest"
	"github.com/preforkd/preforkd/master/carry"
)

// copyOfShell returns a copy of the shell, in a directory that everybody may enter.
func copyOfShell(t testing.TB) string {
	t.Helper()
	content, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "shell")
	if err := os.WriteFile(path, content, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// opened returns a set of binaries with the file at a path.
func opened(t testing.TB, path string) (*Binaries, *os.File) {
	t.Helper()
	b := NewBinaries()
	t.Cleanup(b.Close)
	file, err := b.Open(path)
	if err != nil || file == nil {
		t.Fatalf("%s: %v, %v", path, file, err)
	}
	return b, file
}

// output starts a command, which is a shell, and returns what a script writes to its
// connection. at is the number that the connection has here, or 0.
func output(t *testing.T, c Command, at int, script string) string {
	t.Helper()
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	peer := os.NewFile(uintptr(ends[1]), "peer")
	defer peer.Close()
	if at > 0 {
		moved, err := unix.FcntlInt(uintptr(ends[0]), unix.F_DUPFD_CLOEXEC, at)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(ends[0])
		ends[0] = moved
	}
	conn := os.NewFile(uintptr(ends[0]), "connection")
	c.Args, c.Stderr = []string{"a-shell", "-c", script}, os.Stderr
	child, err := c.Start(conn, nil, nil)
	conn.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Wait4(child.Pid, nil, 0, nil)
	child.ReleaseHandle()
	out, err := io.ReadAll(peer)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// What is started is the file that was at the path at first, whatever has become of the
// path, and the program has nothing of that but its own file.
func TestBinaryIsKept(t *testing.T) {
	path := copyOfShell(t)
	b, file := opened(t, path)
	if file.Fd() < firstBinary {
		t.Errorf("the file is descriptor %d", file.Fd())
	}
	const list = "exec ls /proc/self/fd"
	const script = "echo $0; readlink /proc/$$/exe; " + list
	c := Command{Path: path, File: file}
	descriptors := output(t, Command{Path: path}, 0, list)
	expect := func(how, exe string) {
		t.Helper()
		if got, want := output(t, c, 0, script), "a-shell\n"+exe+"\n"+descriptors; got != want {
			t.Errorf("%s: got %q, want %q", how, got, want)
		}
	}
	expect("as it is", path)
	other := path + "-new"
	if err := os.WriteFile(other, []byte("#!/bin/sh\necho another\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, path); err != nil {
		t.Fatal(err)
	}
	expect("replaced", path+" (deleted)")
	if again, err := b.Open(path); again != file || err != nil {
		t.Errorf("opened again: %v, %v", again, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect("deleted", path+" (deleted)")
	if again, err := b.Open(path); again != file || err != nil {
		t.Errorf("opened again: %v, %v", again, err)
	}
}

// Package syscall moves descriptors of the child about. Whichever number the connection
// has, the file of the program is what is executed.
func TestBinaryIsInNobodysWay(t *testing.T) {
	path := copyOfShell(t)
	_, first := opened(t, path)
	// Where the numbers below are free.
	at, err := unix.FcntlInt(first.Fd(), unix.F_DUPFD_CLOEXEC, 40)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(at), path)
	defer file.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for n := at - 9; n < at+9; n++ {
		for _, control := range []bool{false, true} {
			c := Command{Path: path, File: file, Control: control, Null: null}
			script := "echo hello"
			if control {
				script = "echo hello >&3"
			}
			if got := output(t, c, n, script); got != "hello" {
				t.Errorf("the file is %d, the connection %d, control %v: %q", at, n, control, got)
			}
		}
	}
}

// Nobody else may go to where the file is, and yet it is what they are started from.
func TestBinaryForAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		needtest.Skip(t, "needs root to start a program as another user")
	}
	path := copyOfShell(t)
	if err := os.Chmod(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	_, file := opened(t, path)
	nobody := &syscall.Credential{Uid: 65534, Gid: 65534}
	if got := output(t, Command{Path: path, File: file, Credential: nobody}, 0, "id -u"); got != "65534" {
		t.Errorf("got %q", got)
	}
	if err := os.Chmod(path, 0o700); err != nil {
		t.Fatal(err)
	}
	c := Command{Path: path, File: file, Args: []string{"a-shell"}, Credential: nobody, Stderr: os.Stderr}
	if _, err := c.Start(os.Stdin, nil, nil); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "/proc") {
		t.Errorf("a file that the user may not execute: %v", err)
	}
	_, _ = unix.Wait4(-1, nil, 0, nil)
}

// What cannot be started by its descriptor is started by its path.
func TestBinaryByPath(t *testing.T) {
	before := fdtest.Open(t)
	b := NewBinaries()
	dir := t.TempDir()
	script, empty := filepath.Join(dir, "script"), filepath.Join(dir, "empty")
	for path, content := range map[string]string{script: "#!/bin/sh\n", empty: ""} {
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{script, empty, dir + "/none"} {
		if file, err := b.Open(path); file != nil || err != nil {
			t.Errorf("%s: %v, %v", path, file, err)
		}
	}
	if file, err := b.Open(script + "/below"); file != nil || !errors.Is(err, unix.ENOTDIR) || !strings.Contains(err.Error(), script) {
		t.Errorf("%v, %v", file, err)
	}
	if states := b.Export(carry.NewDescriptors()); len(states) != 0 {
		t.Errorf("the state is %v", states)
	}
	if after := fdtest.Open(t); after != before {
		t.Errorf("%d descriptors are open, were %d", after, before)
	}
}

// The files go over, and are the same.
func TestBinariesGoOver(t *testing.T) {
	path, another := copyOfShell(t), copyOfShell(t)
	b, file := opened(t, path)
	if _, err := b.Open(another); err != nil {
		t.Fatal(err)
	}
	d := carry.NewDescriptors()
	states := b.Export(d)
	if len(states) != 2 || !reflect.DeepEqual(d.Numbers(), []int{min(int(states[0].File), int(states[1].File)), max(int(states[0].File), int(states[1].File))}) {
		t.Fatalf("the state is %v, kept are %v", states, d.Numbers())
	}
	// What is restored here would close what is still open otherwise.
	copies := carry.NewDescriptors()
	for i := range states {
		fd, err := unix.FcntlInt(uintptr(states[i].File), unix.F_DUPFD_CLOEXEC, firstBinary)
		if err != nil {
			t.Fatal(err)
		}
		states[i].File = copies.Keep(fd)
	}
	restored, err := RestoreBinaries(states, copies)
	if err != nil {
		t.Fatal(err)
	}
	defer restored.Close()
	if got := restored.Export(carry.NewDescriptors()); !reflect.DeepEqual(got, states) {
		t.Errorf("got %v, want %v", got, states)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	again, err := restored.Open(path)
	if err != nil || again == nil {
		t.Fatalf("%v, %v", again, err)
	}
	was, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if is, err := again.Stat(); err != nil || !os.SameFile(was, is) {
		t.Errorf("another file: %v", err)
	}
	if got := output(t, Command{Path: path, File: again}, 0, "echo hello"); got != "hello" {
		t.Errorf("got %q", got)
	}
}

// A state that makes no sense is an error.
func TestBinariesThatMakeNoSense(t *testing.T) {
	before := fdtest.Open(t)
	for _, states := range [][]BinaryState{
		{{"", 12}},
		{{"worker", 12}},
		{{"/a", 9}},
		{{"/a", carry.None}},
		{{"/a", -7}},
		{{"/a", 14}},
		{{"/a", 12}, {"/b", 12}},
		{{"/a", 12}, {"/a", 13}},
	} {
		d := carry.NewDescriptors()
		d.Keep(9)
		d.Keep(12) // numbers only
		d.Keep(13)
		if b, err := RestoreBinaries(states, d); err == nil {
			t.Errorf("%v: %v", states, b)
		} else if strings.ContainsRune(err.Error(), '\n') {
			t.Errorf("%v: %v", states, err)
		}
	}
	d := carry.NewDescriptors()
	d.Keep(12)
	if _, err := RestoreBinaries([]BinaryState{{"/a", 12}}, d); err != nil {
		t.Errorf("a good one: %v", err)
	}
	if after := fdtest.Open(t); after != before {
		t.Errorf("%d descriptors are open, were %d", after, before)
	}
}
