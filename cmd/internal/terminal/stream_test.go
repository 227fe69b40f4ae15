package terminal_test

import (
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
	"github.com/preforkd/preforkd/ipc/slowtest"
)

// A sum keeps the number and the hash of bytes.
type sum struct {
	hash.Hash
	bytes int64
}

func newSum() *sum { return &sum{Hash: sha256.New()} }

func (s *sum) Write(p []byte) (int, error) {
	s.bytes += int64(len(p))
	return s.Hash.Write(p)
}

func (s *sum) equal(t *testing.T, want *sum) {
	t.Helper()
	if s.bytes != want.bytes || string(s.Sum(nil)) != string(want.Sum(nil)) {
		t.Errorf("%d bytes came back, want the same %d bytes", s.bytes, want.bytes)
	}
}

// Much data goes through a pipe, an echo server and another pipe, is the same
// afterwards, and neither process has kept it.
func TestConnectKeepsNothing(t *testing.T) {
	const most = 200 << 20 // of memory; the race detector's share is most of it
	size := int64(2 * most)
	if testing.Short() {
		size = 64 << 20
	}
	p := &program{Cmd: exec.Command(systest.Preforkd(t), "connect", "--no-quit-word", echo(t))}
	stdout, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.Env, p.Stdin, p.Stderr = environ(t), r, &p.stderr
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	defer p.Wait()
	defer p.Process.Kill()
	r.Close()
	sender := p.sender(t)

	sent, received := newSum(), newSum()
	peak := int64(0)
	var sending sync.WaitGroup
	sending.Go(func() {
		defer w.Close()
		random := rand.NewChaCha8([32]byte{4})
		io.CopyN(io.MultiWriter(w, sent), random, size-1)
		for _, pid := range []int{p.Process.Pid, sender} {
			peak = max(peak, systest.ReadStatus(pid).PeakRSS)
		}
		io.CopyN(io.MultiWriter(w, sent), random, 1)
	})
	if _, err := io.Copy(received, stdout); err != nil {
		t.Fatal(err)
	}
	sending.Wait()
	received.equal(t, sent)
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
	if peak == 0 || peak > most {
		t.Errorf("a process took up to %d MiB", peak>>20)
	}
}

// The same with files on both sides, which use other system calls.
func TestConnectFiles(t *testing.T) {
	t.Parallel()
	address := echo(t)
	for _, size := range []int64{0, 1, 4095, 65537, 32 << 20} {
		dir := t.TempDir()
		in, err := os.Create(filepath.Join(dir, "file"))
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		want, got := newSum(), newSum()
		if _, err := io.CopyN(io.MultiWriter(in, want), rand.NewChaCha8([32]byte{byte(size)}), size); err != nil {
			t.Fatal(err)
		}
		in.Seek(0, io.SeekStart)
		out, err := os.Create(filepath.Join(dir, "copy"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		p := &program{Cmd: exec.Command(systest.Preforkd(t), "connect", address)}
		p.Stdout, p.Stderr = out, &p.stderr
		p.run(t, in)
		p.wantExit(t, 0)
		out.Seek(0, io.SeekStart)
		io.Copy(got, out)
		got.equal(t, want)
	}
}

// Two files pass through a chat in opposite directions, both complete.
func TestChatFiles(t *testing.T) {
	t.Parallel()
	a, b := strings.Repeat("from a\x1b[2J\xff\n", 1<<19), strings.Repeat("from b\n", 10)
	p := start(t, fileOf(t, a), "chat", "--listen", "127.0.0.1:0")
	q := start(t, fileOf(t, b), "chat", listeningAddress(t, &p.stderr))
	q.wantExit(t, 0, "the peer closed the connection\n")
	p.wantExit(t, 0, "the peer closed the connection\n")
	if got := p.stdout.String(); got != b {
		t.Errorf("of %d bytes %d arrived at the listening side", len(b), len(got))
	}
	if got := q.stdout.String(); got != a {
		t.Errorf("of %d bytes %d arrived at the connecting side", len(a), len(got))
	}
}

// listeningAddress waits until a chat prints the address at which it listens.
func listeningAddress(t *testing.T, output *capture) string {
	t.Helper()
	output.waitFor(t, ", for one peer")
	_, after, _ := strings.Cut(output.String(), "listening on ")
	address, _, _ := strings.Cut(after, ",")
	return address
}

// Every form of address that serve listens at can be connected to.
func TestConnectAddresses(t *testing.T) {
	t.Parallel()
	path := filepath.Join(systest.Dir(t), "s")
	abstract := "unix:@" + filepath.Base(filepath.Dir(path))
	m := systest.Start(t, "--listen", ":0", "--listen", "unix:"+path, "--listen", abstract)
	port := m.Listeners[0].Port()
	if port == "" {
		t.Fatalf("no port in %+v", m.Listeners)
	}
	for _, address := range []string{
		"127.0.0.1:" + port, "localhost:" + port, ":" + port, "[::1]:" + port, "[::ffff:127.0.0.1]:" + port,
		"[::1%lo]:" + port, "unix:" + path, abstract,
	} {
		if strings.Contains(address, "::1") {
			if conn, err := net.Dial("tcp", "[::1]:"+port); err != nil {
				t.Logf("not tried without IPv6: %s", address)
				continue
			} else {
				conn.Close()
			}
		}
		p := start(t, fileOf(t, "hello\n"), "connect", address)
		p.wantExit(t, 0)
		if out := p.stdout.String(); out != "hello\n" {
			t.Errorf("%s: stdout is %q", address, out)
		}
	}
}

// nc works with connect and chat, on either side.
func TestNetcat(t *testing.T) {
	t.Parallel()
	nc := systest.Need(t, "nc")
	// A chat listens, nc connects.
	p := start(t, nil, "chat", "--listen", "127.0.0.1:0")
	host, port, err := net.SplitHostPort(listeningAddress(t, &p.stderr))
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(nc, "-N", host, port)
	c.Stdin = strings.NewReader("from nc\n")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	p.send(t, "to nc\n")
	p.stdin.Close()
	got, _ := io.ReadAll(out)
	c.Wait()
	p.wantExit(t, 0, "the peer closed the connection\n")
	if string(got) != "to nc\n" || p.stdout.String() != "from nc\n" {
		t.Errorf("nc got %q, the chat %q", got, p.stdout.String())
	}

	// nc listens, a client connects. nc says when it does.
	path := filepath.Join(systest.Dir(t), "s")
	s := exec.Command(nc, "-N", "-l", "-U", path)
	s.Stdin = strings.NewReader("from nc\n")
	received, err := s.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	defer s.Process.Kill()
	systest.Until(t, "listening", func() bool { _, err := os.Stat(path); return err == nil }, nil)
	p = start(t, fileOf(t, "to nc\n"), "connect", "unix:"+path)
	got, _ = io.ReadAll(received)
	s.Wait()
	p.wantExit(t, 0)
	if string(got) != "to nc\n" || p.stdout.String() != "from nc\n" {
		t.Errorf("nc got %q, the client %q", got, p.stdout.String())
	}
}

// An address that looks like a flag works in the second process.
func TestConnectDash(t *testing.T) {
	t.Parallel()
	dir := systest.Dir(t)
	systest.Options{Dir: dir, Args: []string{"--listen", "unix:--help"}}.Start(t)
	p := &program{Cmd: exec.Command(systest.Preforkd(t), "connect", "unix:--help")}
	p.Dir, p.Stdout, p.Stderr = dir, &p.stdout, &p.stderr
	p.run(t, fileOf(t, "hello\n"))
	p.wantExit(t, 0)
	if out := p.stdout.String(); out != "hello\n" {
		t.Errorf("stdout is %q", out)
	}
}

// Every error is one line with the right exit code.
func TestBadInput(t *testing.T) {
	t.Parallel()
	taken := echo(t)
	plain := filepath.Join(systest.Dir(t), "file")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	datagram, err := net.ListenPacket("unixgram", filepath.Join(systest.Dir(t), "d"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { datagram.Close() })
	for _, c := range []struct {
		name, want string
		code       int
		args       []string
	}{
		{"unknown host", "connect no-such-host.invalid:7: unknown host no-such-host.invalid", 1, []string{"connect", "no-such-host.invalid:7"}},
		{"refused", "connect 127.0.0.1:1: connection refused", 1, []string{"connect", "127.0.0.1:1"}},
		{"refused chat", "connect 127.0.0.1:1: connection refused", 1, []string{"chat", "127.0.0.1:1"}},
		{"no path", "connect unix:/nowhere/s: no such file or directory", 1, []string{"connect", "unix:/nowhere/s"}},
		{"no socket", "connect unix:" + plain + ": not a socket", 1, []string{"connect", "unix:" + plain}},
		{"datagram socket", "protocol wrong type for socket", 1, []string{"connect", "unix:" + datagram.LocalAddr().String()}},
		{"nobody's name", "connect unix:@no-such-name: connection refused", 1, []string{"connect", "unix:@no-such-name"}},
		{"unknown zone", "no network interface nowhere0", 1, []string{"connect", "[fe80::1%nowhere0]:7"}},
		{"unknown zone to listen", "no network interface nowhere0", 1, []string{"chat", "--listen", "[fe80::1%nowhere0]:7"}},
		{"address in use", "listen " + taken + ": address already in use", 1, []string{"chat", "--listen", taken}},
		{"path in use", "address already in use", 1, []string{"chat", "--listen", "unix:" + plain}},
		{"somebody else's address", "listen 192.0.2.1:7: cannot assign requested address", 1, []string{"chat", "--listen", "192.0.2.1:7"}},
		{"no address", "connect takes one address, and got 0", 2, []string{"connect"}},
		{"two addresses", "connect takes one address, and got 2", 2, []string{"connect", "a:1", "b:2"}},
		{"no port", `address "localhost": the port is missing`, 2, []string{"connect", "localhost"}},
		{"port 0", `address "localhost:0": nobody can be reached at port 0`, 2, []string{"connect", "localhost:0"}},
		{"port 0 in chat", `address ":0": nobody can be reached at port 0`, 2, []string{"chat", ":0"}},
		{"negative timeout", "--timeout -1s", 2, []string{"connect", "--timeout", "-1s", "a:1"}},
		{"negative half-closed timeout", "--half-closed-timeout -1s", 2, []string{"connect", "--half-closed-timeout", "-1s", "a:1"}},
		{"negative half-closed timeout in chat", "--half-closed-timeout -1s", 2, []string{"chat", "--half-closed-timeout", "-1s", "a:1"}},
		{"no timeout", "soon", 2, []string{"connect", "--timeout", "soon", "a:1"}},
		{"chat with two addresses", "chat takes one address, and got 2", 2, []string{"chat", "a:1", "b:2"}},
		{"chat without address", "chat needs an address", 2, []string{"chat"}},
		{"chat with both", "not both", 2, []string{"chat", "--listen", ":0", "a:1"}},
		{"empty listen", `address ""`, 2, []string{"chat", "--listen", ""}},
		{"bad name", "printable", 2, []string{"chat", "--name", "a\x1bb", "a:1"}},
		{"sender by hand", "sender is started by connect and chat only", 2, []string{"sender", "x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := start(t, nil, c.args...)
			p.wantExit(t, c.code, c.want)
			line := p.stderr.String()
			if strings.Count(line, "\n") != 1 || !strings.HasPrefix(line, "preforkd: ") {
				t.Errorf("not one line: %q", line)
			}
		})
	}
}

// A server whose queue is full leaves the connection hanging.
func TestConnectTimeout(t *testing.T) {
	t.Parallel()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: at.(*unix.SockaddrInet4).Port}
	for { // until the queue is full
		conn, err := net.DialTimeout("tcp", address.String(), slowtest.Scale(200*time.Millisecond))
		if err != nil {
			break
		}
		defer conn.Close()
	}
	p := start(t, nil, "connect", "--timeout", "100ms", address.String())
	p.wantExit(t, 1, "preforkd: connect "+address.String()+": timed out after 100ms\n")

	p = start(t, nil, "chat", "--listen", "127.0.0.1:0", "--timeout", "100ms")
	p.wantExit(t, 1, "no peer within 100ms\n")
}

// A machine without a network has no route.
func TestConnectUnreachable(t *testing.T) {
	t.Parallel()
	unshare := systest.Need(t, "unshare")
	systest.NeedRoot(t)
	p := &program{Cmd: exec.Command(unshare, "--net", systest.Preforkd(t), "connect", "192.0.2.1:7")}
	p.Stdout, p.Stderr = &p.stdout, &p.stderr
	p.run(t, nil)
	p.wantExit(t, 1, "preforkd: connect 192.0.2.1:7: network is unreachable\n")
}
