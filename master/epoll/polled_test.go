package epoll

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A file that Go's poller does not watch is told from one that it watches.
func TestCheckPolled(t *testing.T) {
	for name, flags := range map[string]int{"": unix.O_NONBLOCK, "blocking": 0} {
		var ends [2]int
		if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|flags); err != nil {
			t.Fatal(err)
		}
		unix.Close(ends[1])
		f := os.NewFile(uintptr(ends[0]), "a pipe")
		err := CheckPolled(f)
		if (err != nil) != (name == "blocking") || err != nil && !strings.HasPrefix(err.Error(), "a pipe is not watched") {
			t.Errorf("%s pipe: %v", name, err)
		}
		f.Close()
	}
}
