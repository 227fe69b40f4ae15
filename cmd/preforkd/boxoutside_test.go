package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// newOutside makes what a box keeps its processes from, and returns what finds it in
// an attempt.
func newOutside(t *testing.T, m *boxed) *strings.Replacer {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, "file"), []byte("secret\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	abstract := fmt.Sprintf("@preforkd-test-%d", os.Getpid())
	listenAt(t, "unix", abstract)
	values := []string{
		"$VISIBLE", m.dir, "$SECRETFILE", filepath.Join(m.dir, "file"),
		"$HOSTNAME", hostname, "$ABSTRACT", abstract, "$CONTROL", m.Control,
		"$PORT4", listenerPort(listenAt(t, "tcp4", "127.0.0.1:0")), "$PORT6", listenerPort(listenAt(t, "tcp6", "[::1]:0")),
		"$MASTER", fmt.Sprint(m.PID), "$ANYTMP", "/tmp",
	}
	for name, parent := range map[string]string{"$HOME": "/home", "$ROOT": "/root", "$TMP": "/tmp"} {
		values = append(values, name, secretDir(t, parent))
	}
	return strings.NewReplacer(values...)
}

// secretDir returns a new directory with a file that everybody may read.
func secretDir(t *testing.T, parent string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "preforkd-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("secret\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// listenAt listens until the end of the test, and takes every connection.
func listenAt(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		systest.Skip(t, "needs an address: "+err.Error())
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	return l
}

func listenerPort(l net.Listener) string {
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}
