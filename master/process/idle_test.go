package process

import (
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/needtest"
)

// Idle counts from the last byte that has come or gone.
func TestIdle(t *testing.T) {
	children := notifyChildren(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	peer, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	conn, err := accepted.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	child, err := shell(t, true, "read x <&4").Start(conn, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	child.Registered()
	defer func() {
		unix.Close(child.Control)
		reapOne(t, children)
	}()
	const pause = 100 * time.Millisecond
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		idle, err := Idle(child.Pid)
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
			needtest.Skip(t, "needs pidfd_getfd(2)")
		}
		if err != nil {
			t.Fatal(err)
		}
		if idle >= pause {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("idle for %v after a minute without a byte", idle)
		}
	}
	before := time.Now()
	if _, err := peer.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	idle, err := Idle(child.Pid)
	// The kernel counts in ticks, which are 10 ms at most.
	if passed := time.Since(before) + 20*time.Millisecond; err != nil || idle > passed {
		t.Errorf("idle for %v, %v; %v have passed since a byte was sent", idle, err, passed)
	}
}

func TestIdleFails(t *testing.T) {
	if _, err := Idle(1 << 30); !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ESRCH) {
		t.Errorf("no such process: %v", err)
	}
}
