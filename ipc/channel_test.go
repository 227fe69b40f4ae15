package ipc

import (
	"errors"
	"io"
	"os"
	"testing"

	"github.com/preforkd/preforkd/ipc/fdtest"
	"golang.org/x/sys/unix"
)

// channel returns both ends of a channel and closes them when the test ends.
func channel(t *testing.T) (master, worker *os.File) {
	t.Helper()
	m, w, err := NewChannel()
	if err != nil {
		t.Fatal(err)
	}
	master, worker = os.NewFile(uintptr(m), "master"), os.NewFile(uintptr(w), "worker")
	t.Cleanup(func() { master.Close(); worker.Close() })
	return master, worker
}

func TestChannelCarriesMessages(t *testing.T) {
	master, worker := channel(t)
	buf := make([]byte, MaxMessage)
	if _, _, err := Receive(int(worker.Fd()), buf, unix.MSG_DONTWAIT); err != unix.EAGAIN {
		t.Fatalf("receive on an empty channel: %v, want EAGAIN", err)
	}
	msg, err := assignment.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := Send(int(master.Fd()), msg); err != nil {
		t.Fatal(err)
	}
	typ, body, err := Receive(int(worker.Fd()), buf, 0)
	if typ != TypeAssignment || err != nil {
		t.Fatalf("receive: %v, %v", typ, err)
	}
	if a, err := DecodeAssignment(body); err != nil || a.Connection != assignment.Connection {
		t.Fatalf("decode: %+v, %v", a, err)
	}
	master.Close()
	if _, _, err := Receive(int(worker.Fd()), buf, 0); err != io.EOF {
		t.Fatalf("receive from a closed channel: %v, want EOF", err)
	}
	if err := Send(int(worker.Fd()), msg); err != unix.EPIPE {
		t.Fatalf("send into a closed channel: %v, want EPIPE", err)
	}
}

// A side that never reads must not block the sender.
func TestSendNeverBlocks(t *testing.T) {
	master, _ := channel(t)
	msg, err := assignment.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 1 << 20 {
		if err := Send(int(master.Fd()), msg); err != nil {
			if err != unix.EAGAIN {
				t.Fatalf("send: %v, want EAGAIN", err)
			}
			return
		}
	}
	t.Fatal("a million messages fit into a socket buffer")
}

func TestReceiveRejectsDescriptorsAndLeaksNone(t *testing.T) {
	master, worker := channel(t)
	msg, err := (&Report{}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	before := fdtest.Open(t)
	rights := unix.UnixRights(0, 1, 2)
	if err := unix.Sendmsg(int(worker.Fd()), msg, rights, nil, 0); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Receive(int(master.Fd()), make([]byte, MaxMessage), 0); !errors.Is(err, ErrMalformed) {
		t.Errorf("receive: %v, want ErrMalformed", err)
	}
	if after := fdtest.Open(t); after != before {
		t.Errorf("%d descriptors open before, %d after", before, after)
	}
}

func TestConnectionTravels(t *testing.T) {
	master, worker := channel(t)
	msg, err := assignment.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := SendConnection(int(master.Fd()), msg, int(w.Fd())); err != nil {
		t.Fatal(err)
	}
	w.Close()
	typ, _, conn, err := ReceiveConnection(int(worker.Fd()), make([]byte, MaxMessage), 0)
	if typ != TypeAssignment || err != nil {
		t.Fatalf("receive: %v, %v", typ, err)
	}
	flags, err := unix.FcntlInt(uintptr(conn), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor flags %#x, %v", flags, err)
	}
	if err := unix.Close(conn); err != nil {
		t.Fatal(err)
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("read %d, %v: somebody still holds the connection", n, err)
	}
	if err := Send(int(master.Fd()), Drain); err != nil {
		t.Fatal(err)
	}
	if typ, body, conn, err := ReceiveConnection(int(worker.Fd()), make([]byte, MaxMessage), 0); typ != TypeDrain || len(body) > 0 || conn != -1 || err != nil {
		t.Errorf("receive without a connection: %v, %q, %d, %v", typ, body, conn, err)
	}
}

func TestSurplusDescriptorsAreClosed(t *testing.T) {
	master, worker := channel(t)
	before := fdtest.Open(t)
	for n := 2; n <= 20; n++ {
		fds := make([]int, n)
		if err := unix.Sendmsg(int(master.Fd()), Ready, unix.UnixRights(fds...), nil, 0); err != nil {
			t.Fatal(err)
		}
		if _, _, conn, err := ReceiveConnection(int(worker.Fd()), make([]byte, MaxMessage), 0); conn != -1 || !errors.Is(err, ErrMalformed) {
			t.Errorf("%d descriptors: %d, %v", n, conn, err)
		}
		if after := fdtest.Open(t); after != before {
			t.Fatalf("%d descriptors sent: %d open before, %d after", n, before, after)
		}
	}
}

func TestReceiveRejectsOversized(t *testing.T) {
	master, worker := channel(t)
	if err := Send(int(worker.Fd()), make([]byte, MaxMessage+1)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Receive(int(master.Fd()), make([]byte, MaxMessage), 0); !errors.Is(err, ErrMalformed) {
		t.Errorf("receive: %v, want ErrMalformed", err)
	}
}

// FuzzReceiveConnection sends whole datagrams with any number of descriptors. Whatever
// happens, only the returned descriptor stays open.
func FuzzReceiveConnection(f *testing.F) {
	a, _ := assignment.Append(nil)
	f.Add(a, uint8(1))
	f.Add(a, uint8(2))
	f.Add(Drain, uint8(0))
	f.Add([]byte("garbage!"), uint8(5))
	f.Fuzz(func(t *testing.T, datagram []byte, count uint8) {
		if len(datagram) == 0 || len(datagram) > 2*MaxMessage {
			return // nobody sends it, or the socket refuses it
		}
		master, worker := channel(t)
		defer master.Close()
		defer worker.Close()
		fds := make([]int, count%9)
		for i := range fds {
			fds[i] = int(master.Fd())
		}
		var rights []byte
		if len(fds) > 0 {
			rights = unix.UnixRights(fds...)
		}
		if err := unix.Sendmsg(int(worker.Fd()), datagram, rights, nil, 0); err != nil {
			t.Fatal(err)
		}
		before := fdtest.Open(t)
		_, _, conn, err := ReceiveConnection(int(master.Fd()), make([]byte, MaxMessage), 0)
		if err != nil && conn != -1 || err == nil && (conn >= 0) != (len(fds) == 1) {
			t.Errorf("%d descriptors sent: %d, %v", len(fds), conn, err)
		}
		if conn >= 0 {
			unix.Close(conn)
		}
		if after := fdtest.Open(t); after != before {
			t.Errorf("%d descriptors open before, %d after", before, after)
		}
	})
}

// BenchmarkChannel sends one message from a worker and receives it at the master.
func BenchmarkChannel(b *testing.B) {
	master, worker, err := NewChannel()
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(master)
	defer unix.Close(worker)
	buf := make([]byte, MaxMessage)
	b.ReportAllocs()
	for b.Loop() {
		if err := Send(worker, Ready); err != nil {
			b.Fatal(err)
		}
		if t, _, err := Receive(master, buf, unix.MSG_DONTWAIT); t != TypeReady || err != nil {
			b.Fatal(t, err)
		}
	}
}
