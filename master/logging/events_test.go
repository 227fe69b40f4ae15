package logging

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/preforkd/preforkd/ipc/slowtest"
)

// logEvents logs each event once, as the master does. It logs the end of a
// connection in both forms.
func logEvents(l *zap.Logger) {
	echo := l.With(Service("echo"))
	echo.Info(EventListening, Local("127.0.0.1:7007"))
	echo.Debug(EventAccepted, Conn("mi8f2k1c-1"), Peer("127.0.0.1:50312"), Local("127.0.0.1:7007"), PID(4711))
	echo.Info(EventReaped, Conn("mi8f2k1c-1"), Peer("127.0.0.1:50312"), Local("127.0.0.1:7007"), PID(4711), ExitCode(0), Reason("eof"),
		Duration(1234*time.Millisecond), BytesIn(5), BytesOut(5<<20),
		UserTime(1200*time.Microsecond), SysTime(900*time.Microsecond), MaxRSS(4200<<10))
	echo.Warn(EventReaped, Conn("mi8f2k1c-2"), Peer("[2001:db8::1]:50313"), PID(4712), Signal(syscall.SIGSEGV),
		Duration(35*time.Millisecond), UserTime(0), SysTime(700*time.Microsecond), MaxRSS(980<<10))
	echo.Warn(EventRefused, Peer("192.0.2.200:50314"), Reason("max-connections"))
	echo.Error(EventSpawnFailed, Conn("mi8f2k1c-3"), Peer("unix:/run/client.sock"),
		Error(errors.New("fork/exec /usr/bin/cat: resource temporarily unavailable")))
	l.Info(EventDraining, Signal(syscall.SIGTERM), zap.Int("live", 3), zap.Duration("timeout", 30*time.Second))
	l.Info(EventReloaded, zap.Strings("added", []string{"git"}))
	l.Info(EventStopped)
}

// A sink is a file in memory.
type sink struct {
	mu     sync.Mutex
	data   bytes.Buffer
	closed bool
}

func (s *sink) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, errors.New("write after close")
	}
	return s.data.Write(b)
}

func (s *sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.data.String()
}

// newTestLogger returns a Logger that logs everything to out.
func newTestLogger(out io.WriteCloser, encoder zapcore.Encoder, limit int) *Logger {
	q := newQueue(out, encoder, limit)
	return newLogger(zap.NewAtomicLevelAt(zapcore.DebugLevel), encoder, q)
}

type fixedClock struct{ at time.Time }

func (c fixedClock) Now() time.Time                       { return c.at }
func (c fixedClock) NewTicker(time.Duration) *time.Ticker { panic("not used") }

// written returns what the function log writes at a given time.
func written(t *testing.T, encoder zapcore.Encoder, at time.Time, log func(*zap.Logger)) string {
	t.Helper()
	var out sink
	l := newTestLogger(&out, encoder, queueLimit)
	log(l.WithOptions(zap.WithClock(fixedClock{at})))
	if err := l.Close(slowtest.Scale(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestMain(m *testing.M) {
	if helper() {
		return
	}
	goleak.VerifyTestMain(m)
}
