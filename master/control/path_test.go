package control

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/zap"
)

// testPlaces are places of this user without any directory.
func testPlaces(t *testing.T) places {
	t.Helper()
	dir := t.TempDir()
	p := places{uid: os.Geteuid(), users: filepath.Join(dir, "users"), tmp: filepath.Join(dir, "tmp"), fallback: filepath.Join(dir, "system.sock")}
	if p.uid == 0 {
		p.uid = 54321 // somebody whom this process can make directories for
	}
	mkdir(t, p.tmp, -1, 0o777)
	return p
}

func mkdir(t *testing.T, path string, uid int, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(path, uid, -1); err != nil {
			t.Fatal(err)
		}
	}
}

// The place is the same for a master and its clients, whatever is set where they
// are started, as long as directories are what they should be.
func TestDefaultPath(t *testing.T) {
	p := testPlaces(t)
	private := filepath.Join(p.private(), "control.sock")
	expect := func(what string, p places, want string) {
		t.Helper()
		if got := p.candidates()[0]; got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	expect("nothing", p, private)
	system := p
	system.uid = 0
	expect("root", system, p.fallback)
	system.xdg = p.tmp
	expect("root with XDG_RUNTIME_DIR", system, p.fallback)
	unit := p
	unit.runtime = "/run/a:/run/b"
	expect("a unit", unit, "/run/a/control.sock")
	unit.uid = 0
	expect("root's unit", unit, "/run/a/control.sock")
	unit = p
	unit.runtime, unit.xdg = "a", "b"
	expect("relative ones", unit, private)

	session := p
	session.xdg = filepath.Join(p.tmp, "xdg")
	expect("XDG_RUNTIME_DIR that is not there", session, private)
	mkdir(t, session.xdg, p.uid, 0o700)
	expect("XDG_RUNTIME_DIR", session, session.xdg+"/preforkd/control.sock")
	other := session
	other.uid++
	expect("XDG_RUNTIME_DIR of another user", other, filepath.Join(other.private(), "control.sock"))

	user := filepath.Join(p.users, strconv.Itoa(p.uid))
	mkdir(t, user, p.uid, 0o700)
	expect("/run/user", p, user+"/preforkd/control.sock")
	expect("XDG_RUNTIME_DIR before /run/user", session, session.xdg+"/preforkd/control.sock")
	if other.uid, other.xdg = p.uid+1, ""; os.Geteuid() == 0 {
		mkdir(t, filepath.Join(p.users, "54322"), p.uid, 0o777)
		expect("/run/user of another user", other, filepath.Join(other.private(), "control.sock"))
	}
}

// A client looks where its own user's master is, then where root's is. It names
// the first where there is neither.
func TestFindPath(t *testing.T) {
	p := testPlaces(t)
	private := filepath.Join(p.private(), "control.sock")
	touch := func(path string) {
		t.Helper()
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(what, want string) {
		t.Helper()
		if got := p.find(); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	expect("neither", private)
	touch(p.fallback)
	expect("root's", p.fallback)
	mkdir(t, p.private(), p.uid, 0o700)
	expect("root's and an empty directory", p.fallback)
	touch(private)
	expect("both", private)
	// The master was started before there was a better place.
	p.xdg = filepath.Join(p.tmp, "xdg")
	mkdir(t, p.xdg+"/preforkd", p.uid, 0o700)
	mkdir(t, p.xdg, p.uid, 0o700)
	expect("an earlier place", private)
	touch(p.xdg + "/preforkd/control.sock")
	expect("two masters", p.xdg+"/preforkd/control.sock")
	p.xdg = ""
	mkdir(t, p.private(), p.uid, 0o755)
	expect("a directory that others can enter", p.fallback)
	if os.Geteuid() == 0 {
		mkdir(t, p.private(), p.uid+1, 0o700)
		expect("a directory of somebody else", p.fallback)
	}
}

// The directory in /tmp is made for this user alone. One that somebody else may
// have made is no place for a socket.
func TestPrivateDirectory(t *testing.T) {
	p := testPlaces(t)
	p.uid = os.Geteuid()
	dir := p.private()
	for range 2 {
		if err := p.makeDirectory(dir); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Lstat(dir); err != nil || info.Mode() != os.ModeDir|0o700 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	}
	elsewhere := filepath.Join(p.tmp, "elsewhere")
	if err := p.makeDirectory(elsewhere); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(elsewhere); err != nil || info.Mode() != os.ModeDir|0o755 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	expect := func(want string) {
		t.Helper()
		if err := p.makeDirectory(dir); err == nil || !strings.HasPrefix(err.Error(), dir+want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	for _, mode := range []os.FileMode{0o701, 0o710, 0o777} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		expect(" has mode ")
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, dir); err != nil {
		t.Fatal(err)
	}
	expect(" is not a directory")
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	expect(" is not a directory")
	if os.Geteuid() == 0 {
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		mkdir(t, dir, 54321, 0o700)
		expect(" belongs to uid 54321, and not to uid 0")
	}
}

// The directory of a socket is made, but not its parents.
func TestSocketDirectory(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "a", "b", "control.sock"), File{-1, -1, -1}, zap.NewNop()); err == nil || !strings.HasPrefix(err.Error(), "control socket: mkdir ") {
		t.Errorf("%v", err)
	}
	s, err := Open(filepath.Join(dir, "a", "control.sock"), File{-1, -1, -1}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}
