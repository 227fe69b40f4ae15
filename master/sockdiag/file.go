package sockdiag

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Constants of linux/unix_diag.h.
const (
	unixShowFile = 2 // UDIAG_SHOW_VFS
	unixFile     = 1 // UNIX_DIAG_VFS: u32 inode, u32 device
)

// FileOf returns the inode number, of 32 bits, of the file to which a listening
// unix socket was bound. Its argument is the inode number of the socket, which
// fstat(2) returns for its descriptor. Only this tells the file from another
// one at the same path. FileOf does not return the device: for a file of an
// overlay it is not the one of stat.
func FileOf(socket uint64) (file uint32, err error) {
	d, err := open()
	if err != nil {
		return 0, err
	}
	defer d.close()
	found := false
	err = d.dump(unixRequest(1<<unix.BPF_TCP_LISTEN, unixShowFile), func(answer []byte) error {
		if len(answer) < unixMessageSize {
			return errShort
		}
		if uint64(host.Uint32(answer[4:])) != socket {
			return nil
		}
		for kind, value := range attributes(answer[unixMessageSize:]) {
			if kind == unixFile && len(value) >= 8 {
				file, found = host.Uint32(value), true
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return 0, fmt.Errorf("list the listening unix sockets: %w", err)
	case !found:
		return 0, errors.New("the kernel does not tell a socket's file")
	}
	return file, nil
}
