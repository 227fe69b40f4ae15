package workers

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/epoll"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/stderr"
)

// A StderrReader puts what one worker writes to its stderr into the log, line by
// line. It has a goroutine of its own, so a worker that writes a lot, or holds
// half a line back, holds up nobody. Nothing of it can block, because the log
// never does.
//
// A worker's own children may hold the other end when the worker is long gone.
// Once the worker has been reaped, what is in the pipe is read, and the pipe is
// closed. What they write later is lost, and they are told so (EPIPE).
type StderrReader struct {
	file    *os.File
	log     *zap.Logger
	conn    atomic.Pointer[string] // the id of the connection that the worker has
	pid     atomic.Int64
	closing chan struct{} // closed by Close
	done    chan struct{} // closed when run has ended

	reading sync.Mutex // held by who reads, and by Set.Pause; guards what follows
	lines   stderr.Lines
	tail    stderr.Tail
}

// maxRest is how many bytes are read after the end of a worker. A pipe holds 64 KiB.
const maxRest = 256 << 10

// NewStderrReader returns a reader and the end of its pipe that is for a worker.
// The caller closes that end once the worker has it, runs the reader with run,
// and ends it with Close.
func NewStderrReader(log *zap.Logger) (*StderrReader, *os.File, error) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("create pipe for stderr: %w", err)
	}
	worker := os.NewFile(uintptr(ends[1]), "stderr of a worker")
	// The two ends of a pipe have flags of their own: the worker's stays in
	// blocking mode.
	if err := unix.SetNonblock(ends[0], true); err != nil {
		unix.Close(ends[0])
		worker.Close()
		return nil, nil, fmt.Errorf("create pipe for stderr: %w", err)
	}
	file := os.NewFile(uintptr(ends[0]), "stderr of a worker")
	if err := epoll.CheckPolled(file); err != nil {
		file.Close()
		worker.Close()
		return nil, nil, err
	}
	return newReader(file, log), worker, nil
}

// newReader returns a reader of a pipe.
func newReader(file *os.File, log *zap.Logger) *StderrReader {
	return &StderrReader{file: file, log: log, closing: make(chan struct{}), done: make(chan struct{})}
}

// run reads until all have closed the other end, or until Close.
func (r *StderrReader) run() {
	defer close(r.done)
	raw, err := r.file.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, 4096)
	for {
		var got error
		err := raw.Read(func(fd uintptr) bool {
			got = r.read(int(fd), buf)
			return got != unix.EAGAIN
		})
		if err != nil {
			// Closed, or Go's poller has not taken the pipe on, for a limit of the user
			// or of memory (epoll(7)): it is read now and then.
			select {
			case <-time.After(readDelay):
				err = raw.Control(func(fd uintptr) { got = r.read(int(fd), buf) })
			case <-r.closing:
				return
			}
		}
		if err != nil || got != nil && got != unix.EAGAIN {
			return
		}
	}
}

// read takes in what comes next. It fails with unix.EAGAIN when there is nothing, and
// with io.EOF at the end.
func (r *StderrReader) read(fd int, buf []byte) error {
	r.reading.Lock()
	defer r.reading.Unlock()
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case n <= 0:
			return io.EOF
		}
		r.add(buf[:n])
		return nil
	}
}

// Close is called when the worker has been reaped. It reads what is left and
// does not wait for more. A nil reader has nothing to close.
func (r *StderrReader) Close() {
	if r == nil {
		return
	}
	close(r.closing)
	_ = r.file.SetReadDeadline(time.Unix(1, 0)) // a Read that waits returns
	<-r.done
	if raw, err := r.file.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			buf := make([]byte, 4096)
			for left := maxRest; left > 0 && r.read(int(fd), buf) == nil; left -= len(buf) {
			}
		})
	}
	r.lines.Flush(r.logLine)
	r.file.Close()
}

// add takes bytes in, and logs the lines that they complete.
func (r *StderrReader) add(data []byte) { r.lines.Add(data, r.logLine) }

func (r *StderrReader) logLine(line []byte, cut bool) {
	r.tail.Add(line, time.Now())
	fields := []zap.Field{logging.Line(string(bytes.TrimSuffix(line, []byte("\r"))))}
	if conn := r.conn.Load(); conn != nil {
		fields = append(fields, logging.Conn(*conn))
	}
	if pid := r.pid.Load(); pid > 0 {
		fields = append(fields, logging.PID(int(pid)))
	}
	if cut {
		fields = append(fields, zap.Bool("cut", true))
	}
	r.log.Info(logging.EventStderr, fields...)
}

// Serves says which connection the worker has from now on. A nil reader has no
// use for it.
func (r *StderrReader) Serves(conn string) {
	if r != nil {
		r.conn.Store(&conn)
	}
}

// Tail returns the last lines that the worker wrote since a given time. It is
// called after Close. A nil reader has none.
func (r *StderrReader) Tail(since time.Time) string {
	if r == nil {
		return ""
	}
	return r.tail.Since(since)
}
