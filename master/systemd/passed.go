package systemd

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// A Socket is a descriptor that was passed to this process. Nobody has looked
// yet whether it is a socket at all.
type Socket struct {
	FD   int    // with FD_CLOEXEC; whoever has the Socket owns it
	Name string // its FileDescriptorName=, or "" when it has none
}

// maxPassed bounds the descriptors that one process is passed: far more than
// any unit lists.
const maxPassed = 1 << 16

// Passed takes over the descriptors that were passed to this process, and
// removes the variables that tell of them. There are none when the variables
// are for another process (LISTEN_PID). It is called once, before the process
// starts any other.
func Passed() (sockets []Socket, err error) {
	if n, err := strconv.Atoi(os.Getenv("LISTEN_FDS")); err == nil && n > maxPassed {
		return nil, fmt.Errorf("LISTEN_FDS=%d: at most %d descriptors can be passed", n, maxPassed)
	}
	files := activation.Files(true)
	defer func() {
		for _, f := range files {
			f.Close()
		}
		if err != nil {
			CloseAll(sockets)
			sockets = nil
		}
	}()
	for i, f := range files {
		// A duplicate, because what go-systemd returns are files that Go's
		// poller may have, and that close themselves when forgotten.
		fd, err := duplicate(f, firstPassed+len(files))
		if err != nil {
			return sockets, fmt.Errorf("descriptor %d of %d passed by LISTEN_FDS: %w", i+1, len(files), err)
		}
		sockets = append(sockets, Socket{fd, nameOf(f.Name())})
	}
	return sockets, nil
}

// firstPassed is the number of the first descriptor (SD_LISTEN_FDS_START).
const firstPassed = 3

// duplicate returns a duplicate of a file's descriptor, with a number above
// those that were passed. Not File.Fd, which would make the file blocking for
// everybody who has it.
func duplicate(f *os.File, least int) (fd int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	controlErr := raw.Control(func(orig uintptr) {
		fd, err = unix.FcntlInt(orig, unix.F_DUPFD_CLOEXEC, least)
	})
	if controlErr != nil {
		return -1, controlErr
	}
	return fd, err
}

// nameOf returns the name that somebody gave a descriptor. systemd calls one
// without FileDescriptorName= after its socket unit, or "unknown"; go-systemd
// calls it after its number when there are no names at all.
func nameOf(name string) string {
	if name == "unknown" || strings.HasSuffix(name, ".socket") || strings.HasPrefix(name, "LISTEN_FD_") {
		return ""
	}
	return name
}

// CloseAll closes descriptors that nobody wants.
func CloseAll(sockets []Socket) {
	for _, s := range sockets {
		unix.Close(s.FD)
	}
}
