package workers

import (
	"bytes"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/logging"
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
	file *os.File
	log  *zap.Logger
	conn atomic.Pointer[string] // the id of the connection that the worker has
	pid  atomic.Int64
	line []byte // what has come of a line; cut when it is too long
	cut  bool
	done chan struct{}
}

const (
	maxLine = 4096      // bytes of a line in the log
	maxRest = 256 << 10 // bytes read after the end of a worker; a pipe holds 64 KiB
)

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
	r := &StderrReader{file: os.NewFile(uintptr(ends[0]), "stderr of a worker"), log: log, done: make(chan struct{})}
	return r, worker, nil
}

// run reads until all have closed the other end, or until Close.
func (r *StderrReader) run() {
	defer close(r.done)
	buf := make([]byte, 4096)
	for {
		n, err := r.file.Read(buf)
		r.add(buf[:n])
		if err != nil {
			return
		}
	}
}

// Close is called when the worker has been reaped. It reads what is left and
// does not wait for more. A nil reader has nothing to close.
func (r *StderrReader) Close() {
	if r == nil {
		return
	}
	_ = r.file.SetReadDeadline(time.Unix(1, 0)) // a Read that waits returns
	<-r.done
	if raw, err := r.file.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			buf := make([]byte, 4096)
			for left := maxRest; left > 0; {
				n, err := unix.Read(int(fd), buf)
				if err == unix.EINTR {
					continue
				}
				if err != nil || n <= 0 {
					return
				}
				r.add(buf[:n])
				left -= n
			}
		})
	}
	if len(r.line) > 0 {
		r.logLine()
	}
	r.file.Close()
}

// add takes bytes in, and logs the lines that they complete.
func (r *StderrReader) add(data []byte) {
	for len(data) > 0 {
		piece, rest, ended := bytes.Cut(data, []byte("\n"))
		data = rest
		if room := maxLine - len(r.line); len(piece) > room {
			piece, r.cut = piece[:room], true
		}
		r.line = append(r.line, piece...)
		if ended {
			r.logLine()
		}
	}
}

func (r *StderrReader) logLine() {
	fields := []zap.Field{logging.Line(string(bytes.TrimSuffix(r.line, []byte("\r"))))}
	if conn := r.conn.Load(); conn != nil {
		fields = append(fields, logging.Conn(*conn))
	}
	if pid := r.pid.Load(); pid > 0 {
		fields = append(fields, logging.PID(int(pid)))
	}
	if r.cut {
		fields = append(fields, zap.Bool("cut", true))
	}
	r.log.Info(logging.EventStderr, fields...)
	r.line, r.cut = r.line[:0], false
}

// Serves says which connection the worker has from now on. A nil reader has no
// use for it.
func (r *StderrReader) Serves(conn string) {
	if r != nil {
		r.conn.Store(&conn)
	}
}
