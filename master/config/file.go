package config

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxFile is the maximum size of a configuration file in bytes. Tens of
	// thousands of rules fit.
	maxFile = 16 << 20

	// readLimit is how long reading a file may take, and how long whoever writes
	// into a FIFO may take. A system call that does not return within readGrace
	// after that is given up.
	readLimit = 10 * time.Second
	readGrace = time.Second
)

// A File is a configuration file, which may be read again and again. It is a
// regular file, or a FIFO that somebody writes into, such as /dev/stdin and the
// process substitution of a shell.
//
// It is tracked whether it is being read, because a read may never end: no
// deadline bounds a system call on a file system that hangs. Such a read keeps a
// thread. There is at most one, and until it ends the file is not read again.
//
// Several goroutines may use a File at once.
type File struct {
	path  string
	limit time.Duration                                          // readLimit
	grace time.Duration                                          // readGrace
	read  func(path string, limit time.Duration) ([]byte, error) // readFile

	mu    sync.Mutex
	since time.Time // when the read that is under way began; zero for none
}

// NewFile returns the configuration file at a path. Nothing is read yet.
func NewFile(path string) *File {
	return &File{path: path, limit: readLimit, grace: readGrace, read: readFile}
}

// Load reads a configuration file, completes it and validates it. If it is
// wrong, the error is of type ConfigErrors and holds everything that is wrong.
func Load(path string, run Run) (Config, error) { return NewFile(path).Load(run) }

// Load does what the function Load does. Reading takes at most some 10 seconds;
// what comes after it takes as long as file systems do that programs are on.
func (f *File) Load(run Run) (Config, error) { return f.load(run, nil) }

// LoadAgain does what Load does, with the same Run, after another load. What the
// file says as it did then, and nothing else goes into that may have changed, it
// takes from there.
func (f *File) LoadAgain(base *Base) (Config, error) { return f.load(base.Config.Run, base) }

func (f *File) load(run Run, base *Base) (Config, error) {
	text, err := f.text()
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	return parse(f.path, text, run, base)
}

// Stalled reports whether a read has been under way for longer than it may be,
// and since when.
func (f *File) Stalled() (since time.Time, stalled bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.since, !f.since.IsZero() && time.Since(f.since) > f.limit+f.grace
}

// text returns what is in the file.
func (f *File) text() ([]byte, error) {
	begun := time.Now()
	f.mu.Lock()
	since := f.since
	if since.IsZero() {
		f.since = begun
	}
	f.mu.Unlock()
	if !since.IsZero() {
		return nil, fmt.Errorf("%s is still being read since %s; its file system does not answer", f.path, since.Format(time.TimeOnly))
	}
	type result struct {
		text []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		text, err := f.read(f.path, f.limit)
		f.mu.Lock()
		f.since = time.Time{}
		f.mu.Unlock()
		done <- result{text, err}
	}()
	timeout := time.NewTimer(f.limit + f.grace)
	defer timeout.Stop()
	select {
	case r := <-done:
		return r.text, r.err
	case <-timeout.C:
		return nil, fmt.Errorf("%s could not be read within %v; its file system does not answer", f.path, f.limit)
	}
}

// readFile reads a configuration file. The limit holds for a FIFO only: how long a
// regular file takes is up to its file system. It opens nothing but the two,
// because opening a device may have an effect.
func readFile(path string, limit time.Duration) ([]byte, error) {
	deadline := time.Now().Add(limit)
	info, err := os.Stat(path)
	if err != nil {
		// As everywhere: "open FILE: no such file or directory".
		return nil, &fs.PathError{Op: "open", Path: path, Err: bareErrno(err)}
	}
	if err := readable(path, info); err != nil {
		return nil, err
	}
	// Without O_NONBLOCK the open of a FIFO waits for a writer (fifo(7)).
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	// The path may name another file by now.
	var opened unix.Stat_t
	if err := unix.Fstat(fd, &opened); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	r := &configReader{path: path, fd: fd, limit: limit, deadline: deadline}
	switch opened.Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFIFO:
		r.fifo = true
	default:
		return nil, fmt.Errorf("%s: is neither a regular file nor a FIFO", path)
	}
	text, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > maxFile:
		return nil, errTooLarge(path)
	}
	return text, nil
}

func errTooLarge(path string) error {
	return fmt.Errorf("%s has more than %d bytes", path, maxFile)
}

// readable returns why a file cannot be a configuration.
func readable(path string, info fs.FileInfo) error {
	switch mode := info.Mode(); {
	case mode.IsRegular() && info.Size() > maxFile:
		return errTooLarge(path)
	case mode.IsRegular() || mode&fs.ModeNamedPipe != 0:
		return nil
	case mode.IsDir():
		return fmt.Errorf("%s: is a directory", path)
	case mode&fs.ModeDevice != 0:
		return fmt.Errorf("%s: is a device; a configuration is a regular file or a FIFO", path)
	}
	return fmt.Errorf("%s: is a socket; a configuration is a regular file or a FIFO", path)
}

// A configReader reads a descriptor that does not block. It waits for those who
// write into a FIFO until the deadline.
type configReader struct {
	path     string
	fd       int
	limit    time.Duration // for messages
	fifo     bool
	some     bool // something was read
	closed   bool // whoever wrote has gone
	deadline time.Time
}

func (r *configReader) Read(buf []byte) (int, error) {
	for {
		n, err := unix.Read(r.fd, buf)
		switch {
		case err == unix.EINTR:
			continue
		case n > 0:
			r.some = true
			return n, nil
		case err == unix.EAGAIN || err == nil && r.fifo && !r.some && !r.closed:
			// A FIFO without a writer reads like one at its end.
			if err := r.wait(); err != nil {
				return 0, err
			}
			continue
		case err != nil:
			return 0, &fs.PathError{Op: "read", Path: r.path, Err: err}
		}
		return 0, io.EOF
	}
}

// wait waits until there is something to read, or a writer has come and gone.
func (r *configReader) wait() error {
	left := time.Until(r.deadline)
	fds := []unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(max(0, left.Milliseconds())))
	switch {
	case err == unix.EINTR:
	case err != nil:
		return os.NewSyscallError("poll", err)
	case n == 0 && !r.some:
		return fmt.Errorf("%s: nobody has written into this FIFO within %v", r.path, r.limit)
	case n == 0:
		return fmt.Errorf("%s: whoever writes into this FIFO has not come to an end within %v", r.path, r.limit)
	case fds[0].Revents&unix.POLLIN == 0:
		r.closed = true
	}
	return nil
}
