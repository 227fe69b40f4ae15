package box

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/process"
)

// images holds the executable files of entries and of cells. What is executed in
// a mount namespace of a box is a file of a file system that is mounted nowhere: a
// thread whose working directory that is finds it, wherever else it has been. It
// takes CAP_SYS_ADMIN, as those namespaces do. What is executed outside of them is
// a file without a name, to which the /proc of whoever has it open leads.
type images struct {
	mu   sync.Mutex // guards what follows
	dir  int        // descriptor of the directory, or -1
	next int
}

// An image is one executable file.
type image struct {
	path string   // "" for one that has no name
	dir  int      // the working directory that path is valid in, or -1
	file *os.File // of one that has no name, or nil; whoever executes it gets it as a descriptor

	generation int // of the box when the image was used last; the box's lock guards it
}

func newImages() *images { return &images{dir: -1} }

func (i *images) close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.dir >= 0 {
		unix.Close(i.dir)
		i.dir = -1
	}
}

// add makes an image. With mounted it can be executed in other mount namespaces, and has
// the mode.
func (i *images) add(content []byte, mounted bool, mode os.FileMode) (*image, error) {
	// Nobody can execute a file that is open for writing (ETXTBSY). A child that is
	// forked meanwhile has it open until its own exec.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if !mounted {
		fd, err := unix.MemfdCreate("preforkd-box", unix.MFD_CLOEXEC)
		if err != nil {
			return nil, os.NewSyscallError("memfd_create", err)
		}
		file := os.NewFile(uintptr(fd), "memfd")
		if _, err := file.Write(content); err != nil {
			file.Close()
			return nil, err
		}
		again, err := os.Open(process.FilePath(fd))
		file.Close()
		if err != nil {
			return nil, err
		}
		return &image{dir: -1, file: again}, nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.dir < 0 {
		var err error
		if i.dir, err = detachedDirectory(); err != nil {
			return nil, err
		}
	}
	name := strconv.Itoa(i.next)
	i.next++
	fd, err := unix.Openat(i.dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o555)
	if err != nil {
		return nil, os.NewSyscallError("open", err)
	}
	file := os.NewFile(uintptr(fd), name)
	_, err = file.Write(content)
	if err == nil {
		err = file.Chmod(mode)
	}
	file.Close()
	if err != nil {
		return nil, err
	}
	return &image{path: "./" + name, dir: i.dir}, nil
}

// drop removes an image.
func (i *images) drop(m *image) {
	if m.file != nil {
		m.file.Close()
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.dir >= 0 {
		_ = unix.Unlinkat(i.dir, m.path, 0)
	}
}

// detachedDirectory returns the root of a new file system that is mounted nowhere
// (fsopen(2), fsmount(2)).
func detachedDirectory() (int, error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("fsopen: %w", err)
	}
	defer unix.Close(fs)
	for key, value := range map[string]string{"mode": "0711", "size": "64M"} {
		if err := unix.FsconfigSetString(fs, key, value); err != nil {
			return -1, fmt.Errorf("fsconfig %s: %w", key, err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("fsconfig: %w", err)
	}
	dir, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID)
	if err != nil {
		return -1, fmt.Errorf("fsmount: %w", err)
	}
	return dir, nil
}
