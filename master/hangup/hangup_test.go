package hangup

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/preforkd/preforkd/ipc/slowtest"
	"github.com/preforkd/preforkd/master/sockdiag"
)

// connect returns both ends of a connection, and what Gone is asked about it. This
// process serves it.
func connect(t *testing.T, network, address string) (client, server net.Conn, c Connection) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if client, err = net.Dial(network, l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	c = Connection{PID: os.Getpid(), Local: "unix:" + l.Addr().String()}
	if tcp, ok := server.LocalAddr().(*net.TCPAddr); ok {
		c.Socket = sockdiag.Pair{Local: tcp.AddrPort(), Peer: server.RemoteAddr().(*net.TCPAddr).AddrPort()}
	}
	return client, server, c
}

func isGone(t *testing.T, c Connection) bool {
	t.Helper()
	gone, err := Gone([]Connection{c})
	if err != nil {
		t.Fatal(err)
	}
	return gone[0]
}

func TestGone(t *testing.T) {
	for network, address := range map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0", "unix": filepath.Join(t.TempDir(), "s")} {
		t.Run(network, func(t *testing.T) {
			client, server, c := connect(t, network, address)
			if isGone(t, c) {
				t.Error("gone while it is there")
			}
			type halfCloser interface{ CloseWrite() error }
			if err := client.(halfCloser).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if _, err := server.Read(make([]byte, 1)); err != io.EOF {
				t.Fatal(err)
			}
			if isGone(t, c) {
				t.Error("gone when it has half-closed")
			}
			if tcp, ok := client.(*net.TCPConn); ok {
				tcp.SetLinger(0)
			}
			client.Close()
			slowtest.Await(t, "that the client has gone", func() bool { return isGone(t, c) })
			server.Close()
			if isGone(t, c) {
				t.Error("gone when the process has closed the connection")
			}
		})
	}
}

// A process that has ended has no client.
func TestEndedProcess(t *testing.T) {
	_, _, c := connect(t, "unix", filepath.Join(t.TempDir(), "s"))
	p, err := os.StartProcess("/proc/self/exe", []string{"none", "-test.run=^$"}, &os.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	c.PID = p.Pid
	if isGone(t, c) {
		t.Error("gone")
	}
}
