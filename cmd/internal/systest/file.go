package systest

import (
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// CopyProgram copies a program. While the copy is open for writing this
// process forks no other: a child that inherited the descriptor for a moment
// would make the copy's exec fail with ETXTBSY.
func CopyProgram(t testing.TB, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	syscall.ForkLock.RLock()
	err = os.WriteFile(to, data, 0o755)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
}

// A Gate is a FIFO that holds the programs that read a line from it.
type Gate struct{ Path string }

// NewGate makes a closed gate.
func NewGate(t testing.TB) Gate {
	t.Helper()
	g := Gate{Dir(t) + "/gate"}
	if err := unix.Mkfifo(g.Path, 0o666); err != nil {
		t.Fatal(err)
	}
	return g
}

// Open waits for somebody to stand at the gate and lets one reader through.
func (g Gate) Open(t testing.TB) {
	t.Helper()
	// Opening a FIFO to write waits for a reader; without O_NONBLOCK that
	// wait would have no end, with it there is none.
	Until(t, "somebody at the gate", func() bool {
		fd, err := unix.Open(g.Path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return false
		}
		defer unix.Close(fd)
		_, err = unix.Write(fd, []byte("\n"))
		return err == nil
	}, nil)
}

// WriteProgram writes a script, with the care of CopyProgram.
func WriteProgram(t testing.TB, path, text string) {
	t.Helper()
	syscall.ForkLock.RLock()
	err := os.WriteFile(path, []byte(text), 0o755)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
}
