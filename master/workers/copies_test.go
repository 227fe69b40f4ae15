package workers

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/slowtest"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/service/servicetest"
)

const stdioProgram = "program = ['/bin/cat']\nmax-connections = 5000\n"

// program registers a worker of a program that serves since then, and returns it
// with its client.
func (st *stage) program(since time.Time) (w *Worker, client int) {
	st.t.Helper()
	c, client := servicetest.Connection(st.t, st.pool.spec, "c")
	w = NewWorker(st.pool, c)
	w.since = since
	st.set.Register(st.start(w))
	st.set.ParkIfIdle(w, time.Now())
	return w, client
}

// end plays the end of a worker's process.
func (st *stage) end(w *Worker) {
	c := w.Connection()
	st.die(w)
	st.set.ReapAll()
	st.set.EndConnection(w, c)
}

// expectEnd waits for the end of the stream at the client.
func expectEnd(t *testing.T, client int) {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(client), Events: unix.POLLIN}}
	if _, err := unix.Poll(fds, int(slowtest.Scale(time.Minute).Milliseconds())); err != nil && err != unix.EINTR {
		t.Fatal(err)
	}
	if n, _, err := unix.Recvfrom(client, make([]byte, 1), unix.MSG_DONTWAIT); n != 0 || err != nil {
		t.Errorf("read %d bytes, %v; want the end", n, err)
	}
}

// The copy of a connection is closed properly wherever it is, and leaves nothing.
func TestCopies(t *testing.T) {
	for _, shared := range []bool{false, true} {
		st := newStage(t, stdioProgram)
		if shared {
			st = newStage(t, stdioProgram+"leftovers = 'keep'\n")
			st.set.leftovers.close()
			st.set.leftovers.children = nil // so that it is not known whether there are any
		}
		go st.set.Linger().Run()
		var workers []*Worker
		var clients []int
		long := time.Now().Add(-time.Minute)
		for range 2 * mostNear {
			w, client := st.program(long)
			workers, clients = append(workers, w), append(clients, client)
			if _, err := unix.Write(client, []byte("unread")); err != nil {
				t.Fatal(err)
			}
		}
		near := 0
		for _, w := range workers {
			if w.copyNear() >= 0 {
				near++
			}
		}
		if near > mostNear || near < parkThreshold {
			t.Errorf("%d copies are near", near)
		}
		for i, w := range workers {
			st.end(w)
			if !shared {
				expectEnd(t, clients[i])
			}
			if err := unix.Shutdown(clients[i], unix.SHUT_RDWR); err != nil {
				t.Fatal(err)
			}
		}
		<-st.set.Linger().Lingering()
		for _, w := range workers {
			if w.holdsCopy {
				t.Fatal("a copy is left")
			}
		}
		open := 0
		for _, fd := range parkedSockets(st) {
			if fd {
				open++
			}
		}
		if open > 0 {
			t.Errorf("%d descriptors are parked", open)
		}
	}
}

// parkedSockets tells of each number of the parking thread whether it is a stream
// socket.
func parkedSockets(st *stage) (found []bool) {
	st.set.parking.thread.Do(func() {
		for fd := range 2000 {
			kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
			found = append(found, err == nil && kind == unix.SOCK_STREAM)
		}
	})
	return found
}

// Where nothing can be parked the copies of long connections are given up.
func TestCopiesWithoutRoom(t *testing.T) {
	st := newStage(t, stdioProgram)
	st.set.parking.failed = true // and there is no thread
	long := time.Now().Add(-time.Minute)
	for range 2 * mostNear {
		st.program(long)
	}
	near := 0
	for w := range st.set.All() {
		if w.copyNear() >= 0 {
			near++
		}
	}
	if near > mostNear {
		t.Errorf("%d copies are near", near)
	}
}

// The master notices that a program has closed its connection, and does not take a
// process for one that has ended.
func TestHasClosed(t *testing.T) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	conn, peer := os.NewFile(uintptr(ends[0]), "connection"), os.NewFile(uintptr(ends[1]), "client")
	defer conn.Close()
	defer peer.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(ends[0], &stat); err != nil {
		t.Fatal(err)
	}
	start := func(script string, place int) *exec.Cmd {
		cmd := exec.Command("/bin/sh", "-c", script)
		cmd.Stderr = os.Stderr
		if place == 3 {
			cmd.ExtraFiles = []*os.File{conn}
		} else {
			cmd.Stdin, cmd.Stdout = conn, conn
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		return cmd
	}
	for _, place := range []int{0, 3} {
		if cmd := start("exec sleep 1000", place); hasClosed(cmd.Process.Pid, stat.Ino) {
			t.Errorf("a program with its connection on %d has closed it", place)
		}
		cmd := start("exec 0<&- 1>&- 3>&-; exec sleep 1000", place)
		for end := time.Now().Add(slowtest.Scale(time.Minute)); !hasClosed(cmd.Process.Pid, stat.Ino); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("a program that has closed its connection on %d is not noticed", place)
			}
		}
	}
	// Dead and not reaped.
	cmd := start("exit", 0)
	for process.IsRunning(cmd.Process.Pid) {
		if hasClosed(cmd.Process.Pid, stat.Ino) {
			t.Fatal("a process that ends has closed its connection")
		}
	}
	if hasClosed(cmd.Process.Pid, stat.Ino) {
		t.Error("a process that has ended has closed its connection")
	}
}
