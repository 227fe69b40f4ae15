package process

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/carry"
)

// Binaries are the open files of worker binaries, one for each path. A master opens a
// worker binary once, and starts every worker from that file: its worker binary stays
// the one that belongs to it when a package manager puts another one at the path, or
// removes it. Any goroutine may use them.
type Binaries struct {
	mu    sync.Mutex // guards what follows
	files map[string]*binary
}

// A binary is one file. Its number may be another one's until somebody asks for the file:
// in a rehearsal it is nobody's.
type binary struct {
	fd   int
	file *os.File // nil until then
}

// NewBinaries returns a set without files.
func NewBinaries() *Binaries { return &Binaries{files: map[string]*binary{}} }

// firstBinary is above every number that a child of Start gets a file as.
const firstBinary = 10

// Open returns the file at an absolute path, for Command.File. It stays open as long as
// the process runs, and belongs to b. It is nil where a start needs the path: there is no
// /proc to execute a descriptor by, no file that this process could see, as one in the
// root directory of a box, or the file is a script, whose interpreter could not open it.
func (b *Binaries) Open(path string) (*os.File, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if own := b.files[path]; own != nil {
		if own.file == nil {
			own.file = os.NewFile(uintptr(own.fd), path)
		}
		return own.file, nil
	}
	fd, err := openBinary(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	if !byDescriptor(fd) {
		return nil, nil
	}
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, firstBinary)
	if err != nil {
		return nil, &fs.PathError{Op: "duplicate the descriptor of", Path: path, Err: err}
	}
	own := &binary{high, os.NewFile(uintptr(high), path)}
	b.files[path] = own
	return own.file, nil
}

// openBinary opens a file that is to be executed. Who may read it does so ahead of a
// start; who may not needs no such right to execute it (open(2), O_PATH).
func openBinary(path string) (fd int, err error) {
	fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err == unix.EACCES {
		fd, err = unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	}
	return fd, err
}

// byDescriptor reports whether a program can be executed by the descriptor of its file.
// What cannot be read is no script: its interpreter could not read it either.
func byDescriptor(fd int) bool {
	if unix.Access(FilePath(fd), unix.F_OK) != nil {
		return false
	}
	start := make([]byte, len(elf.ELFMAG))
	_, err := unix.Pread(fd, start, 0)
	return err != nil || bytes.Equal(start, []byte(elf.ELFMAG))
}

// A BinaryState is the file of a worker binary in the state that a master hands over.
type BinaryState struct {
	Path string   `json:"path"`
	File carry.FD `json:"file"`
}

// Export returns the state of the files, in the order of their paths, and keeps them.
// They are for the same program only: the next one has a worker binary of its own.
func (b *Binaries) Export(d *carry.Descriptors) []BinaryState {
	b.mu.Lock()
	defer b.mu.Unlock()
	states := make([]BinaryState, 0, len(b.files))
	for path, own := range b.files {
		states = append(states, BinaryState{path, d.Keep(own.fd)})
	}
	slices.SortFunc(states, func(a, b BinaryState) int { return strings.Compare(a.Path, b.Path) })
	return states
}

// RestoreBinaries makes the set again that Export has returned the state of. The files
// are its own then.
func RestoreBinaries(states []BinaryState, d *carry.Descriptors) (*Binaries, error) {
	b := NewBinaries()
	for _, s := range states {
		if !filepath.IsAbs(s.Path) || b.files[s.Path] != nil {
			return nil, fmt.Errorf("worker binary %q: not an absolute path of its own", s.Path)
		}
		if s.File < firstBinary {
			return nil, fmt.Errorf("worker binary %q: descriptor %d is below %d", s.Path, s.File, firstBinary)
		}
		fd, err := d.Take(s.File)
		if err != nil {
			return nil, fmt.Errorf("worker binary %q: %w", s.Path, err)
		}
		b.files[s.Path] = &binary{fd: fd}
	}
	return b, nil
}

// Close closes the files. Nothing must be started from them any more. The next version of
// the program calls it when it serves, of what it was handed for the way back.
func (b *Binaries) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, own := range b.files {
		if own.file != nil {
			own.file.Close()
		} else {
			unix.Close(own.fd)
		}
	}
	clear(b.files)
}

// executeFile has cmd execute the open file of the command. All that the child gets must
// be in cmd. The caller must call done when the child is there.
//
// Between fork and exec package syscall moves files of the child that are in the way of
// others, to numbers right above the highest of them (forkAndExecInChild1 in
// syscall/exec_linux.go). The file of the program must have none of these.
func (c *Command) executeFile(cmd *exec.Cmd) (done func(), err error) {
	highest, n := 0, firstExtraFile+len(cmd.ExtraFiles)
	for _, f := range cmd.ExtraFiles {
		highest = max(highest, int(f.Fd()))
	}
	for _, f := range []any{cmd.Stdin, cmd.Stdout, cmd.Stderr} {
		if f, ok := f.(*os.File); ok && f != nil {
			highest = max(highest, int(f.Fd()))
		}
	}
	fd := int(c.File.Fd())
	// All of them may be moved, and so may the pipe for the error of the exec.
	if above := highest + n + 2; fd > highest && fd <= above {
		fd, err = unix.FcntlInt(c.File.Fd(), unix.F_DUPFD_CLOEXEC, above+1)
		if err != nil {
			return nil, os.NewSyscallError("fcntl", err)
		}
		done = func() { unix.Close(fd) }
	} else {
		done = func() {}
	}
	cmd.Path = FilePath(fd)
	return done, nil
}
