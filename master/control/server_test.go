package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/slowtest"
)

var plain = File{-1, -1, -1}

// serving starts a server with a socket for a fake backend.
func serving(t *testing.T, m Backend) *Server {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "run", "s"), plain, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	s.Serve(m)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(s.Path()); !os.IsNotExist(err) {
			t.Errorf("the socket is left behind: %v", err)
		}
	})
	return s
}

func clientFor(t *testing.T, path string) *Client {
	c := NewClient(path)
	t.Cleanup(c.Close)
	return c
}

// Every request of the client reaches its operation.
func TestClient(t *testing.T) {
	s := serving(t, &fakeBackend{level: "info"})
	c := clientFor(t, s.Path())
	ctx := t.Context()
	if got, err := c.Status(ctx); err != nil || got.Master.State != "serving" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := c.Explain(ctx, "::1", "a b&c"); err != nil || got.Services[0].Service != "a b&c" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := c.Kill(ctx, "a/../b 1", "9"); err == nil || !strings.Contains(err.Error(), "there is nothing at") {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := c.Kill(ctx, "a b", ""); err != nil || got.Connection != "a b" || got.Signal != "TERM" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := c.Drain(ctx, ""); err != nil || got.Live != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := c.SetLogLevel(ctx, "debug"); err != nil || got.Before != "info" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := c.LogLevel(ctx); err != nil || got.Level != "debug" {
		t.Errorf("%+v, %v", got, err)
	}
	_, err := c.Reload(ctx)
	if e, ok := errors.AsType[*Error](err); !ok || e.Kind != InvalidConfig || len(e.ConfigErrors) != 2 {
		t.Errorf("%v", err)
	}
}

// net/http answers no request in the server's place.
func TestEveryAnswerIsOurs(t *testing.T) {
	s := serving(t, &fakeBackend{level: "info"})
	for _, line := range []string{"OPTIONS * HTTP/1.1", "OPTIONS /v1/status HTTP/1.1", "POST /metrics HTTP/1.1", "CONNECT x:1 HTTP/1.1"} {
		conn, err := net.Dial("unix", s.Path())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, line+"\r\nHost: x\r\nConnection: close\r\n\r\n")
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if text := readAll(t, answer); answer.StatusCode < 400 || !strings.Contains(text, `{"error":"`) {
			t.Errorf("%s: %d %q", line, answer.StatusCode, text)
		}
	}
}

func TestClientSaysWhyNot(t *testing.T) {
	dir := t.TempDir()
	answering := func(name, answer string) string {
		path := filepath.Join(dir, name)
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = conn.Read(make([]byte, 1000))
				_, _ = conn.Write([]byte(answer))
				conn.Close()
			}
		}()
		return path
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none"):         "no preforkd listens at ",
		filepath.Join(dir, "none", "none"): "no preforkd listens at ",
		file:                               "no preforkd listens at ",
		filepath.Join(dir, strings.Repeat("x", 200)):                                 "invalid argument",
		answering("silent", ""):                                                      "closed the connection without an answer",
		answering("rude", "220 mail ESMTP\r\n"):                                      "malformed HTTP",
		answering("other", "HTTP/1.1 404 Nothing here\r\nContent-Length: 0\r\n\r\n"): `is no preforkd: it answers "404 Nothing here"`,
		answering("young", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n["):          "is no preforkd that this one understands",
	} {
		_, err := clientFor(t, path).Status(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
		if none := strings.HasPrefix(want, "no preforkd"); errors.Is(err, ErrNotRunning) != none {
			t.Errorf("%s: not running: %v", path, !none)
		}
	}
	s := serving(t, &fakeBackend{status: make(chan Status)})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := clientFor(t, s.Path()).Status(ctx); err == nil || !strings.Contains(err.Error(), "has not answered within") {
		t.Error(err)
	}
}

func TestOpenFindsAnother(t *testing.T) {
	s := serving(t, &fakeBackend{})
	if other, err := Open(s.Path(), plain, zap.NewNop()); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("%v, %v", other, err)
	}
	if s.Vanished() {
		t.Error("the first one's socket is gone")
	}
	if err := os.Remove(s.Path()); err != nil {
		t.Fatal(err)
	}
	if !s.Vanished() {
		t.Error("a socket that was removed is not missed")
	}
	// The directory may also disappear and come back.
	if err := os.Remove(filepath.Dir(s.Path())); err != nil {
		t.Fatal(err)
	}
	successor, err := Open(s.Path(), File{0o600, -1, -1}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(s.Path()); err != nil || info.Mode().Perm() != 0o600 || !s.Vanished() || successor.Vanished() {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := successor.Apply(File{0o660, -1, -1}); err != nil {
		t.Error(err)
	}
	if info, err := os.Lstat(s.Path()); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := successor.Close(); err != nil {
		t.Error(err)
	}
}

// A socket is there as long as nobody can say that it is not. Otherwise an error that passes
// would have the server bind the path anew, and find itself there.
func TestVanishedCannotBeTold(t *testing.T) {
	s := serving(t, &fakeBackend{})
	dir := filepath.Dir(s.Path())
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, dir); err != nil { // ELOOP
		t.Fatal(err)
	}
	if s.Vanished() {
		t.Error("a socket whose file cannot be looked at is gone")
	}
	if err := errors.Join(os.Remove(dir), os.WriteFile(dir, nil, 0o600)); err != nil { // ENOTDIR
		t.Fatal(err)
	}
	if !s.Vanished() {
		t.Error("a socket whose directory is a file is there")
	}
	if err := errors.Join(os.Remove(dir), os.Rename(dir+".away", dir)); err != nil {
		t.Fatal(err)
	}
	if s.Vanished() {
		t.Error("a socket that is back is gone")
	}
}

// The answer to a request that the master works on still arrives when the
// server closes meanwhile.
func TestCloseWaitsForAnswers(t *testing.T) {
	m := &fakeBackend{status: make(chan Status)}
	s := serving(t, m)
	answered := make(chan error)
	go func() {
		_, err := NewClient(s.Path()).Status(context.Background())
		answered <- err
	}()
	silent, err := net.Dial("unix", s.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	slowtest.Await(t, "one of two clients is served", func() bool { return s.socket.clients.count() == 2 && s.socket.clients.atWork() == 1 })
	closed := make(chan struct{})
	go func() {
		s.Close()
		close(closed)
	}()
	if _, err := silent.Read(make([]byte, 1)); err == nil {
		t.Error("who says nothing is answered")
	}
	m.status <- Status{}
	if err := <-answered; err != nil {
		t.Error(err)
	}
	<-closed
}

func (cs *clients) count() int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return len(cs.open)
}

func (cs *clients) atWork() (n int) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for _, c := range cs.open {
		if c.busy {
			n++
		}
	}
	return n
}

// However many clients are silent or slow, their number is limited, and a new
// client is answered.
func TestManyClients(t *testing.T) {
	s := serving(t, &fakeBackend{})
	var conns []net.Conn
	for i := range 3 * maxClients {
		conn, err := net.Dial("unix", s.Path())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		switch i % 3 {
		case 1:
			fmt.Fprint(conn, "GET /v1/sta")
		case 2:
			fmt.Fprint(conn, "POST /v1/drain HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
		}
		conns = append(conns, conn)
	}
	if _, err := clientFor(t, s.Path()).Status(t.Context()); err != nil {
		t.Error(err)
	}
	// The oldest one was closed.
	if _, err := conns[0].Read(make([]byte, 1)); err == nil {
		t.Error("it has an answer")
	}
	if n := s.socket.clients.count(); n > maxClients {
		t.Errorf("%d clients", n)
	}
}

// The user with the most connections loses one of them, and no other user does.
func TestEviction(t *testing.T) {
	var ends []int
	conn := func() net.Conn {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, fds[1])
		file := os.NewFile(uintptr(fds[0]), "client")
		defer file.Close()
		c, err := net.FileConn(file)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	defer func() {
		for _, fd := range ends {
			unix.Close(fd)
		}
	}()
	cs := clients{max: 4}
	lone := cs.add(conn(), Peer{UID: 1})
	crowd := []*client{cs.add(conn(), Peer{UID: 2}), cs.add(conn(), Peer{UID: 2}), cs.add(conn(), Peer{UID: 2})}
	has := func(c *client) bool {
		for _, other := range cs.open {
			if other == c {
				return true
			}
		}
		return false
	}
	root := cs.add(conn(), Peer{UID: 0})
	if !has(lone) || has(crowd[0]) || root == nil {
		t.Error("it is not the longest one of the crowd that went")
	}
	crowd[1].setBusy(true)
	if another := cs.add(conn(), Peer{UID: 2}); another == nil || !has(crowd[1]) || has(crowd[2]) {
		t.Error("it is not the one that nobody works for")
	}
	for _, c := range cs.open {
		c.busy = true
	}
	if cs.add(conn(), Peer{UID: 0}) != nil || len(cs.open) != 4 {
		t.Error("there is room where there is none")
	}
	cs.closeIdle()
	if len(cs.open) != 4 {
		t.Error("who is worked for is idle")
	}
	for len(cs.open) > 0 {
		cs.open[0].Close()
	}
}
