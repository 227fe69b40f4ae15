package upgrade

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// seals are those of a memfd that holds a State: nobody changes it any more
// (fcntl(2), File Sealing).
const seals = unix.F_SEAL_WRITE | unix.F_SEAL_GROW | unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL

// maxState is the most bytes that a State may have. A million sources have fifty million.
const maxState = 1 << 30

// newMemfd returns an empty file in memory, with FD_CLOEXEC, that can be sealed. The
// caller owns it.
func newMemfd() (*os.File, error) {
	fd, err := unix.MemfdCreate("preforkd-state", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), "preforkd-state"), nil
}

// writeSealed writes a State and seals the file.
func writeSealed(f *os.File, data []byte) error {
	if len(data) > maxState {
		return fmt.Errorf("the state has %d bytes, more than %d", len(data), maxState)
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		return err
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return os.NewSyscallError("fcntl F_ADD_SEALS", err)
	}
	return nil
}

// readSealed returns what a sealed memfd holds. The caller keeps the descriptor.
func readSealed(fd int) ([]byte, error) {
	switch has, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0); {
	case err != nil:
		return nil, fmt.Errorf("descriptor %d is no state: %w", fd, os.NewSyscallError("fcntl F_GET_SEALS", err))
	case has&seals != seals:
		return nil, errors.New("the state is not sealed")
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	if stat.Size > maxState {
		return nil, fmt.Errorf("the state has %d bytes, more than %d", stat.Size, maxState)
	}
	data := make([]byte, stat.Size)
	for read := 0; read < len(data); {
		n, err := unix.Pread(fd, data[read:], int64(read))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil, os.NewSyscallError("read the state", err)
		case n == 0:
			return nil, io.ErrUnexpectedEOF
		default:
			read += n
		}
	}
	return data, nil
}
