package box

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A home is where a thread comes back to that was in a mount namespace: setns(2) leaves
// it at the root of the master's namespace, which need not be the master's root
// (chroot(2)). Both are descriptors (O_PATH).
type home struct{ root, directory int }

// openHome returns the root and the working directory of this process. The caller closes it.
func openHome() (home, error) {
	h := home{-1, -1}
	for path, fd := range map[string]*int{"/": &h.root, ".": &h.directory} {
		var err error
		if *fd, err = unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
			h.close()
			return home{-1, -1}, fmt.Errorf("%s: %w", path, os.NewSyscallError("open", err))
		}
	}
	return h, nil
}

func (h home) close() {
	for _, fd := range []int{h.root, h.directory} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// enter takes the calling thread there. It may do what setns(2) takes for a mount
// namespace.
func (h home) enter() error {
	if err := unix.Fchdir(h.root); err != nil {
		return os.NewSyscallError("fchdir", err)
	}
	if err := unix.Chroot("."); err != nil {
		return os.NewSyscallError("chroot", err)
	}
	return os.NewSyscallError("fchdir", unix.Fchdir(h.directory))
}
