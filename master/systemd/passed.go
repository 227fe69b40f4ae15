package systemd

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// A Socket is a descriptor that was passed to this process. It may not be a
// socket at all, because this package does not check that.
type Socket struct {
	FD   int    // with FD_CLOEXEC; the holder of the Socket owns it
	Name string // its FileDescriptorName=, or "" if it has none
}

// maxPassed is the maximum number of descriptors that can be passed. No unit
// has so many.
const maxPassed = 1 << 16

// Passed returns the descriptors that were passed to this process, and unsets
// the environment variables about them. It returns none if the variables are
// for another process (LISTEN_PID). It must be called once, before the process
// starts another one. The caller owns the descriptors.
func Passed() (sockets []Socket, err error) {
	mine := os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid())
	if n, err := strconv.Atoi(os.Getenv("LISTEN_FDS")); mine && err == nil && n > maxPassed {
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
		// go-systemd returns files. Go's poller may use them, and they close
		// themselves when they are garbage. So each gets a duplicate.
		fd, err := duplicate(f, firstPassed+len(files))
		if err != nil {
			return sockets, fmt.Errorf("descriptor %d of %d passed by LISTEN_FDS: %w", i+1, len(files), err)
		}
		sockets = append(sockets, Socket{fd, nameOf(f.Name())})
	}
	return sockets, nil
}

// firstPassed is the number of the first passed descriptor
// (SD_LISTEN_FDS_START).
const firstPassed = 3

// duplicate returns a duplicate of a file's descriptor, with a number of at
// least lowest. It does not use File.Fd, which would make the file blocking for
// every process that has it.
func duplicate(f *os.File, lowest int) (fd int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	controlErr := raw.Control(func(orig uintptr) {
		fd, err = unix.FcntlInt(orig, unix.F_DUPFD_CLOEXEC, lowest)
	})
	if controlErr != nil {
		return -1, controlErr
	}
	return fd, err
}

// nameOf returns the configured name of a descriptor, or "". Without
// FileDescriptorName= systemd uses the name of the socket unit, or "unknown".
// If there are no names at all, go-systemd makes one of the descriptor's
// number.
func nameOf(name string) string {
	if name == "unknown" || strings.HasSuffix(name, ".socket") || strings.HasPrefix(name, "LISTEN_FD_") {
		return ""
	}
	return name
}

// CloseAll closes the descriptors of sockets.
func CloseAll(sockets []Socket) {
	for _, s := range sockets {
		unix.Close(s.FD)
	}
}
