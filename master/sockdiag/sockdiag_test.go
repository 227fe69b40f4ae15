package sockdiag

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/slowtest"
	"github.com/preforkd/preforkd/master/osthread"
)

// deadline ends a wait. Only a broken kernel reaches it.
func deadline() time.Duration { return slowtest.Scale(30 * time.Second) }

func inode(t *testing.T, of net.Listener) uint64 {
	t.Helper()
	raw, err := of.(interface {
		SyscallConn() (syscall.RawConn, error)
	}).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var stat unix.Stat_t
	if controlErr := raw.Control(func(fd uintptr) { err = unix.Fstat(int(fd), &stat) }); controlErr != nil || err != nil {
		t.Fatal(controlErr, err)
	}
	return stat.Ino
}

func queueOf(t *testing.T, l net.Listener) (Queue, bool) {
	t.Helper()
	queues, err := Listening()
	if err != nil {
		t.Fatal(err)
	}
	q, ok := queues[inode(t, l)]
	return q, ok
}

// networks are the kinds of listeners, and how a client connects to each.
var networks = map[string]struct {
	network, address string
	dial             string // with the port
}{
	"IPv4":      {"tcp4", "127.0.0.1:0", "127.0.0.1:%d"},
	"IPv6":      {"tcp6", "[::1]:0", "[::1]:%d"},
	"v4-mapped": {"tcp", ":0", "127.0.0.1:%d"},
	"path":      {"unix", "path", ""},
	"abstract":  {"unix", "@", ""},
}

func eachNetwork(t *testing.T, test func(t *testing.T, listener net.Listener, dial func() net.Conn)) {
	for name, n := range networks {
		t.Run(name, func(t *testing.T) {
			address := n.address
			switch address {
			case "path":
				address = filepath.Join(t.TempDir(), "socket")
			case "@":
				address = fmt.Sprintf("@sockdiag-test-%d", os.Getpid())
			}
			l, err := net.Listen(n.network, address)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			to := l.Addr().String()
			if tcp, ok := l.Addr().(*net.TCPAddr); ok {
				to = fmt.Sprintf(n.dial, tcp.Port)
			}
			test(t, l, func() net.Conn {
				conn, err := net.Dial(l.Addr().Network(), to)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { conn.Close() })
				return conn
			})
		})
	}
}

func TestListening(t *testing.T) {
	eachNetwork(t, func(t *testing.T, l net.Listener, dial func() net.Conn) {
		q, ok := queueOf(t, l)
		if !ok || q.Length != 0 || q.Backlog < 1 {
			t.Fatalf("at first: %+v, %v", q, ok)
		}
		const waiting = 7
		for range waiting {
			dial()
		}
		slowtest.Await(t, "full queue", func() bool { q, _ = queueOf(t, l); return q.Length == waiting })
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		slowtest.Await(t, "queue with one less", func() bool { q, _ = queueOf(t, l); return q.Length == waiting-1 })
	})
}

// The backlog is the one of listen(2), and the kernel allows one connection
// more.
func TestBacklog(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "listener")
	defer file.Close()
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	const backlog = 3
	if err := unix.Listen(fd, backlog); err != nil {
		t.Fatal(err)
	}
	l, err := net.FileListener(file)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range backlog + 1 {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	want := Queue{Length: backlog + 1, Backlog: backlog}
	slowtest.Await(t, "queue beyond its backlog", func() bool { q, _ := queueOf(t, l); return q == want })
}

func TestConnections(t *testing.T) {
	eachNetwork(t, func(t *testing.T, l net.Listener, dial func() net.Conn) {
		address, tcp := l.Addr().(*net.TCPAddr)
		if !tcp {
			return // of unix sockets there is no account
		}
		client := dial().(*net.TCPConn)
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer accepted.Close()
		server := accepted.(*net.TCPConn)
		pair := Pair{Local: endpoint(server.LocalAddr()), Peer: endpoint(server.RemoteAddr())}
		var found map[Pair]Bytes
		account := func(want Bytes) func() bool {
			return func() bool {
				// The filter also has ports that nobody uses here.
				if found, err = Connections(1, uint16(address.Port), 2); err != nil {
					t.Fatal(err)
				}
				return found[pair] == want
			}
		}
		slowtest.Await(t, "account of nothing", func() bool {
			_, known := found[pair]
			return account(Bytes{})() && known
		})
		send(t, client, 100_000)
		slowtest.Await(t, "account of what arrived", account(Bytes{In: 100_000}))
		receive(t, server, 100_000)
		send(t, server, 4242)
		receive(t, client, 4242)
		both := Bytes{In: 100_000, Out: 4242}
		slowtest.Await(t, "account of both directions", account(both))
		if len(found) != 1 {
			t.Errorf("other ports have come along: %v", found)
		}

		// The end of a direction does not count as a byte.
		client.CloseWrite()
		if _, err := server.Read(make([]byte, 1)); err != io.EOF {
			t.Fatalf("read: %v", err)
		}
		slowtest.Await(t, "account after the peer's end", account(both))

		// The same holds for the other side, where the client's port is the
		// local one.
		mirror := Pair{Local: pair.Peer, Peer: pair.Local}
		slowtest.Await(t, "account of the client", func() bool {
			all, err := Connections()
			if err != nil {
				t.Fatal(err)
			}
			_, mine := all[pair]
			// The counter of the side that connects also includes the SYN.
			return mine && all[mirror].In == 4242 && all[mirror].Out-100_000 <= 1
		})
	})
}

func endpoint(a net.Addr) netip.AddrPort {
	at := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

func send(t *testing.T, to net.Conn, n int) {
	t.Helper()
	if _, err := to.Write(make([]byte, n)); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, from net.Conn, n int) {
	t.Helper()
	if _, err := io.ReadFull(from, make([]byte, n)); err != nil {
		t.Fatal(err)
	}
}

// The kernel tells a thread without privileges the same as root's.
func TestWithoutPrivileges(t *testing.T) {
	if os.Geteuid() != 0 {
		return // then all other tests show it
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	port, number := uint16(l.Addr().(*net.TCPAddr).Port), inode(t, l)
	thread, err := osthread.Start(func() error {
		const nobody = 65534
		// The plain system call changes this thread only.
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 {
			return errno
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer thread.Close()
	thread.Do(func() {
		queues, err := Listening()
		if _, there := queues[number]; !there || err != nil {
			t.Errorf("%d queues, and whether the listener's is there: %v; %v", len(queues), there, err)
		}
		if connections, err := Connections(port); len(connections) != 1 || err != nil {
			t.Errorf("%d connections, %v", len(connections), err)
		}
	})
}

// A filter can have MaxPorts ports.
func TestManyPorts(t *testing.T) {
	ports := make([]uint16, MaxPorts)
	for i := range ports {
		ports[i] = uint16(i + 1)
	}
	if _, err := Connections(ports...); err != nil {
		t.Errorf("%d ports: %v", len(ports), err)
	}
	if _, err := Connections(append(ports, 60_000)...); err == nil {
		t.Error("more ports than a jump can skip are taken")
	}
}

// An answer may be larger than one datagram.
func TestManyListeners(t *testing.T) {
	inodes := map[uint64]bool{}
	for range 300 {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		inodes[inode(t, l)] = true
	}
	queues, err := Listening()
	if err != nil {
		t.Fatal(err)
	}
	for n := range inodes {
		if _, ok := queues[n]; !ok {
			t.Fatalf("socket %d is missing among %d", n, len(queues))
		}
	}
}

func BenchmarkConnections(b *testing.B) {
	for b.Loop() {
		if _, err := Connections(7007); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkListening(b *testing.B) {
	for b.Loop() {
		if _, err := Listening(); err != nil {
			b.Fatal(err)
		}
	}
}
