package workers

import (
	"os"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/slowtest"
)

// A pipe that Go's poller does not take on is read all the same, so that its
// worker does not wait for ever when the pipe is full.
func TestStderrWithoutPoller(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	r, end, err := NewStderrReader(zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	r.file.Close()
	end.Close()
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	// Package os does not poll what it finds in blocking mode.
	r.file, end = os.NewFile(uintptr(ends[0]), "read end"), os.NewFile(uintptr(ends[1]), "write end")
	defer end.Close()
	if err := unix.SetNonblock(ends[0], true); err != nil {
		t.Fatal(err)
	}
	go r.run()
	written := make(chan error, 1)
	go func() {
		_, err := end.Write(make([]byte, 200_000)) // more than a pipe holds
		written <- err
	}()
	select {
	case err := <-written:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(slowtest.Scale(time.Minute)):
		t.Fatal("nobody reads the pipe")
	}
	begun := time.Now()
	if _, err := end.WriteString("\nlast words"); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if n := logs.Len(); n != 2 || r.Tail(begun) == "" {
		t.Errorf("%d lines, the last ones %q", n, r.Tail(begun))
	}
}
