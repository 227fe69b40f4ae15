package osthread

import (
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/needtest"
	"github.com/preforkd/preforkd/ipc/slowtest"
)

// A thread that starts a process is in state D until the child has executed its program
// (vfork(2)). Here the child waits for a lease on the program's file (fcntl(2)).
func TestHung(t *testing.T) {
	if id, err := Hung(100 * time.Millisecond); id != 0 || err != nil {
		t.Fatalf("thread %d, %v", id, err)
	}
	original, err := os.Open(needtest.Program(t, "true"))
	if err != nil {
		t.Fatal(err)
	}
	defer original.Close()
	path := t.TempDir() + "/true"
	program, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(program, original); err != nil {
		t.Fatal(err)
	}
	program.Close()
	leased, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(leased)
	if _, err := unix.FcntlInt(uintptr(leased), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		needtest.Skip(t, "needs a file system with leases: "+err.Error())
	}
	// A collection of garbage would wait for the thread, too. One that has begun ends first.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	runtime.GC()
	id, ended := make(chan int), make(chan error)
	go func() {
		runtime.LockOSThread()
		id <- unix.Gettid()
		ended <- exec.Command(path).Run()
	}()
	waiting := <-id
	slowtest.Await(t, "the thread that waits", func() bool {
		found, err := Hung(100 * time.Millisecond)
		return err == nil && found == waiting
	})
	if _, err := unix.FcntlInt(uintptr(leased), unix.F_SETLEASE, unix.F_UNLCK); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if id, err := Hung(100 * time.Millisecond); id != 0 || err != nil {
		t.Errorf("thread %d, %v after that", id, err)
	}
}
