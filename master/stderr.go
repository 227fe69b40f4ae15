package master

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

// A stderrLog puts what one worker writes to its stderr into the log, line by
// line. A goroutine of its own reads it, so that a worker which writes a lot, or
// holds half a line back, holds up nobody; and nothing of it can block, because
// the log never does.
//
// A worker's own children may hold the other end when it is long gone. What
// counts is the worker: once it has been reaped, what is there is read, and the
// pipe is closed. What they write later is lost, and tells them so (EPIPE).
type stderrLog struct {
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

// newStderrLog returns a log and the end of a pipe for a worker, which the
// caller closes once the worker has it.
func newStderrLog(log *zap.Logger) (*stderrLog, *os.File, error) {
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
	s := &stderrLog{file: os.NewFile(uintptr(ends[0]), "stderr of a worker"), log: log, done: make(chan struct{})}
	return s, worker, nil
}

// run reads until the other end is closed by all, or close.
func (s *stderrLog) run() {
	defer close(s.done)
	buf := make([]byte, 4096)
	for {
		n, err := s.file.Read(buf)
		s.take(buf[:n])
		if err != nil {
			return
		}
	}
}

// close is called when the worker has been reaped. It reads what is left and
// does not wait for more. A nil log has nothing to close.
func (s *stderrLog) close() {
	if s == nil {
		return
	}
	_ = s.file.SetReadDeadline(time.Unix(1, 0)) // a Read that waits returns
	<-s.done
	if raw, err := s.file.SyscallConn(); err == nil {
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
				s.take(buf[:n])
				left -= n
			}
		})
	}
	if len(s.line) > 0 {
		s.write()
	}
	s.file.Close()
}

// take takes bytes in and logs the lines that they complete.
func (s *stderrLog) take(data []byte) {
	for len(data) > 0 {
		piece, rest, ended := bytes.Cut(data, []byte("\n"))
		data = rest
		if room := maxLine - len(s.line); len(piece) > room {
			piece, s.cut = piece[:room], true
		}
		s.line = append(s.line, piece...)
		if ended {
			s.write()
		}
	}
}

func (s *stderrLog) write() {
	fields := []zap.Field{logging.Line(string(bytes.TrimSuffix(s.line, []byte("\r"))))}
	if conn := s.conn.Load(); conn != nil {
		fields = append(fields, logging.Conn(*conn))
	}
	if pid := s.pid.Load(); pid > 0 {
		fields = append(fields, logging.PID(int(pid)))
	}
	if s.cut {
		fields = append(fields, zap.Bool("cut", true))
	}
	s.log.Info(logging.EventStderr, fields...)
	s.line, s.cut = s.line[:0], false
}

// serves says whose connection the worker has. A nil log does not care.
func (s *stderrLog) serves(conn string) {
	if s != nil {
		s.conn.Store(&conn)
	}
}
