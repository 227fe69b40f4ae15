package mounts

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// A State is all that tells the root of a private file system that somebody has used
// from a new one.
//
// A file that is there takes an inode, and memory if it is not empty. One that was
// made and removed has changed the times of the directory. So has a change of mode,
// owner, extended attributes or ACL.
//
// It cannot tell that another process has got a descriptor of the directory over a
// socket and keeps it, nor that a process which may mount (CAP_SYS_ADMIN) has
// mounted something elsewhere in the cell.
type State struct {
	device, inode, links  uint64
	mode, uid, gid        uint32
	size                  int64
	changed, modified     unix.Timespec
	freeBlocks, freeFiles uint64
}

// NewState returns what stat(2) and statfs(2) tell of a directory. Times of access are no
// trace.
func NewState(st *unix.Stat_t, fs *unix.Statfs_t) State {
	return State{
		device: st.Dev, inode: st.Ino, links: uint64(st.Nlink),
		mode: st.Mode, uid: st.Uid, gid: st.Gid,
		size:    st.Size,
		changed: st.Ctim, modified: st.Mtim,
		freeBlocks: fs.Bfree, freeFiles: fs.Ffree,
	}
}

// marked is the time of the last modification that Mark gives to a directory.
// The times of the kernel advance in steps of some milliseconds: a file that is
// made and removed in the step in which the directory itself was made would
// otherwise leave no trace.
var marked = unix.Timespec{Sec: 1}

// TemporaryDirectories returns where each cell has a temporary file system of its own.
func (t *Template) TemporaryDirectories() (paths []string) {
	for _, m := range t.mounts {
		if m.Type == "tmpfs" {
			paths = append(paths, m.Target)
		}
	}
	return paths
}

// Mark makes the temporary file systems ready to have their State looked at, of a cell
// whose first process has done the mounts that the template lists. No other process may
// be in the cell yet. This process must be allowed to look into /proc/PID/root
// (ptrace(2), PTRACE_MODE_READ).
func (t *Template) Mark(holderPID int) error {
	for _, target := range t.TemporaryDirectories() {
		if err := mark("/proc/" + strconv.Itoa(holderPID) + "/root" + target); err != nil {
			return err
		}
	}
	return nil
}

// mark gives a new temporary file system the time of modification. It changes
// nothing where there is none, as in a cell whose mounts have failed: that would be
// a directory of the machine.
func mark(path string) error {
	fd, err := openDirectory(path)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return fmt.Errorf("%s: %w", path, os.NewSyscallError("fstatfs", err))
	}
	if !isMountRoot(fd) || fs.Type != unix.TMPFS_MAGIC || fs.Files-fs.Ffree != 1 || fs.Bfree != fs.Blocks {
		return fmt.Errorf("%s: is not a new temporary file system", path)
	}
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, marked}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, fdPath(fd), times, 0); err != nil {
		return fmt.Errorf("%s: %w", path, os.NewSyscallError("utimensat", err))
	}
	return nil
}

// openDirectory returns an O_PATH descriptor, which the caller must close.
func openDirectory(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("%s: %w", path, err)
	}
	return fd, nil
}
