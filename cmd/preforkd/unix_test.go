package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// A socket that a dead server left is replaced.
func TestStaleUnixSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(systest.Dir(t), "s")
	first := systest.Start(t, "--listen", "unix:"+path, "echo")
	first.DialTo(t, "unix", path).Echo(t, "first")
	first.Kill(t)
	if _, err := os.Lstat(path); err != nil {
		t.Fatalf("a killed server takes its socket along: %v", err)
	}
	next := systest.Start(t, "--listen", "unix:"+path, "echo")
	next.DialTo(t, "unix", path).Echo(t, "next")
}

// One of a live server is not, and works on.
func TestLiveUnixSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(systest.Dir(t), "s")
	m := systest.Start(t, "--listen", "unix:"+path, "echo")
	result := systest.Run(t, "serve", "--listen", "unix:"+path, "echo")
	if result.Code != 1 || !strings.Contains(result.Stderr, path) {
		t.Errorf("exit code %d: %s", result.Code, result.Stderr)
	}
	oneLine(t, result.Stderr)
	m.DialTo(t, "unix", path).Echo(t, "still here")
}

// A live server that does not accept is alive all the same: its backlog is full.
func TestBusyUnixSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(systest.Dir(t), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	result := systest.Run(t, "serve", "--listen", "unix:"+path, "echo")
	if result.Code != 1 {
		t.Errorf("exit code %d: %s", result.Code, result.Stderr)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the other server's socket: %v", err)
	}
	c.Close()
}

// What is no socket is never deleted.
func TestUnixPathIsOccupied(t *testing.T) {
	t.Parallel()
	dir := systest.Dir(t)
	file, sub := filepath.Join(dir, "file"), filepath.Join(dir, "directory")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, sub, link} {
		result := systest.Run(t, "serve", "--listen", "unix:"+path, "echo")
		if result.Code != 1 || !strings.Contains(result.Stderr, path) {
			t.Errorf("%s: exit code %d: %s", path, result.Code, result.Stderr)
		}
		oneLine(t, result.Stderr)
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "precious" {
		t.Errorf("the file now holds %q, %v", data, err)
	}
}

// A master that stops takes its socket along, but not that of a successor.
func TestUnixSocketIsUnlinked(t *testing.T) {
	t.Parallel()
	path := filepath.Join(systest.Dir(t), "s")
	first := systest.Start(t, "--listen", "unix:"+path, "echo")
	first.Stop(t)
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket of a stopped master: %v", err)
	}

	second := systest.Start(t, "--listen", "unix:"+path, "echo")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	successor := systest.Start(t, "--listen", "unix:"+path, "echo")
	second.Stop(t)
	successor.DialTo(t, "unix", path).Echo(t, "hello")
}

// dialFrom connects from a bound unix socket to another.
func dialFrom(t *testing.T, from, to string) net.Conn {
	t.Helper()
	c, err := net.DialUnix("unix", &net.UnixAddr{Name: from, Net: "unix"}, &net.UnixAddr{Name: to, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
