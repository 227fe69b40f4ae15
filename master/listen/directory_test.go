package listen

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/needtest"
)

// flocked opens a file or directory and locks it until the test ends or unlock is
// called.
func flocked(t *testing.T, path string, flags int) (unlock func()) {
	t.Helper()
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	unlocked := false
	unlock = func() {
		if !unlocked {
			unlocked = true
			unix.Close(fd)
		}
	}
	t.Cleanup(unlock)
	return unlock
}

// leftBehind returns what is in a directory.
func leftBehind(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// Whoever may read a directory can lock it. That holds nobody up.
func TestLockedDirectory(t *testing.T) {
	dir := t.TempDir()
	first := listenAt(t, "unix:"+filepath.Join(dir, "a"))
	flocked(t, dir, unix.O_RDONLY)
	second, err := tryOpen(t, "unix:"+filepath.Join(dir, "b"))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []*Listener{first, second} {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if left := leftBehind(t, dir); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// A master of the same user has the lock for a moment. Nobody waits for it, and a
// listener that is closed meanwhile is gone all the same.
func TestBusyDirectory(t *testing.T) {
	dir := t.TempDir()
	path := "unix:" + filepath.Join(dir, "a")
	l := listenAt(t, path)
	unlock := flocked(t, filepath.Join(dir, lockName()), unix.O_RDWR|unix.O_CREAT)
	if _, err := tryOpen(t, "unix:"+filepath.Join(dir, "b")); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v, want ErrBusy", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if left := leftBehind(t, dir); len(left) != 1 || left[0] != lockName() {
		t.Errorf("left behind: %q", left)
	}
	// What a crash leaves of the lock is in nobody's way.
	unlock()
	if err := listenAt(t, path).Close(); err != nil {
		t.Error(err)
	}
	if left := leftBehind(t, dir); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// In a directory where everybody may put files, what has the name of the lock
// file may be anything. It is left alone, and does not keep the master from
// starting.
func TestForeignLockFile(t *testing.T) {
	for name, make := range map[string]func(t *testing.T, path string){
		"symbolic link": func(t *testing.T, path string) {
			if err := os.Symlink(path+".target", path); err != nil {
				t.Fatal(err)
			}
		},
		"pipe": func(t *testing.T, path string) {
			if err := unix.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"directory": func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		},
		"open to others": func(t *testing.T, path string) {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, 0o644); err != nil {
				t.Fatal(err)
			}
			flocked(t, path, unix.O_RDONLY)
		},
		"second name of a file": func(t *testing.T, path string) {
			if err := os.WriteFile(path+".important", nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Link(path+".important", path); err != nil {
				t.Fatal(err)
			}
			flocked(t, path, unix.O_RDONLY)
		},
		"of another user": func(t *testing.T, path string) {
			needtest.Root(t)
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(path, 65534, 65534); err != nil {
				t.Fatal(err)
			}
			flocked(t, path, unix.O_RDONLY)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			lock := filepath.Join(dir, lockName())
			make(t, lock)
			l, err := tryOpen(t, "unix:"+filepath.Join(dir, "a"))
			if err != nil {
				t.Fatal(err)
			}
			dial(t, l)
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			if _, err := os.Lstat(lock); err != nil {
				t.Errorf("what was there is gone: %v", err)
			}
			if _, err := os.Lstat(lock + ".target"); err == nil {
				t.Error("a file was made behind the link")
			}
		})
	}
}
