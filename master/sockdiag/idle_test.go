package sockdiag

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/preforkd/preforkd/ipc/needtest"
	"github.com/preforkd/preforkd/ipc/slowtest"
	"golang.org/x/sys/unix"
)

// The kernel tells how long a connection has been idle from its ends alone, over
// IPv4, IPv6 and both, and for one that is bound to a device.
func TestIdle(t *testing.T) {
	for name, address := range map[string]string{"v4": "127.0.0.1:0", "v6": "[::1]:0", "both": "[::]:0", "device": "127.0.0.1:0"} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", address)
			if err != nil {
				needtest.Skip(t, "needs IPv6 beside IPv4: "+err.Error())
			}
			defer listener.Close()
			to := listener.Addr().(*net.TCPAddr)
			if name == "both" {
				to.IP = net.IPv4(127, 0, 0, 1)
			}
			if name == "device" {
				raw, err := listener.(*net.TCPListener).SyscallConn()
				if err != nil {
					t.Fatal(err)
				}
				raw.Control(func(fd uintptr) { err = unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "lo") })
				if err != nil {
					needtest.Skip(t, "binds a socket to lo, which took CAP_NET_RAW before Linux 5.7: "+err.Error())
				}
			}
			client, err := net.Dial("tcp", to.String())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			conn, err := listener.Accept()
			if err != nil {
				t.Fatal(err)
			}
			pair := Pair{Local: end(conn.LocalAddr()), Peer: end(conn.RemoteAddr())}
			begun := time.Now()
			if idle, err := Idle(pair); err != nil || idle > time.Since(begun)+deadline() {
				t.Fatalf("%v, %v", idle, err)
			}
			slowtest.Await(t, "idle time", func() bool { idle, err := Idle(pair); return err == nil && idle >= 20*time.Millisecond })
			before, err := Idle(pair)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := client.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			written := time.Now()
			slowtest.Await(t, "byte", func() bool {
				idle, err := Idle(pair)
				return err == nil && (idle < before || idle <= time.Since(written))
			})
			conn.Close()
			client.Close()
			slowtest.Await(t, "end", func() bool { _, err := Idle(pair); return errors.Is(err, ErrNoConnection) })
		})
	}
}

func end(a net.Addr) netip.AddrPort {
	p := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}
