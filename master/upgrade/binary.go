package upgrade

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// OpenBinary opens a program to be executed. It stays the same file whatever becomes of
// its path. The caller owns the file.
func OpenBinary(path string) (*os.File, error) {
	// A FIFO has nobody wait (open(2)).
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if err := checkBinary(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// openPatiently is OpenBinary for a path that may lead to a file system that does not
// answer. It gives up after Timeout.
func openPatiently(path string) (*os.File, error) {
	type opened struct {
		file *os.File
		err  error
	}
	done := make(chan opened)
	abandoned := make(chan struct{})
	go func() {
		f, err := OpenBinary(path)
		select {
		case <-abandoned:
			f.Close()
		case done <- opened{f, err}:
		}
	}()
	select {
	case o := <-done:
		return o.file, o.err
	case <-time.After(Timeout):
		close(abandoned)
		return nil, fmt.Errorf("%s: its file system does not answer", path)
	}
}

func checkBinary(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("a program must be a regular file, and this is one of mode %v", info.Mode())
	}
	if err := unix.Faccessat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.X_OK, unix.AT_EACCESS); err != nil {
		return fmt.Errorf("it cannot be executed: %w", err)
	}
	return nil
}

// Own opens the program that this process runs, whatever is at its path by now
// (proc_pid_exe(5)). The caller owns the file.
func Own() (*os.File, error) { return os.Open("/proc/self/exe") }
