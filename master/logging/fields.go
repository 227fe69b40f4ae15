package logging

import (
	"fmt"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
)

// The names of the fields. A field has the same name, type and unit in every
// event: durations are seconds with a fraction, sizes are bytes.
const (
	keyService  = "service"
	keyConn     = "conn"
	keyPID      = "pid"
	keyPeer     = "peer"
	keyLocal    = "local"
	keyReason   = "reason"
	keyExitCode = "exit_code"
	keySignal   = "signal"
	keyDuration = "duration"
	keyBytesIn  = "bytes_in"
	keyBytesOut = "bytes_out"
	keyUserTime = "user_time"
	keySysTime  = "sys_time"
	keyMaxRSS   = "max_rss"
	keyError    = "error"

	keySource     = "source"
	keySuppressed = "suppressed"
	keyVia        = "via"
	keyFrom       = "from"
	keyName       = "name"
	keySockets    = "sockets"
	keyLine       = "line"
	keyLines      = "lines"
	keyReport     = "report"
)

// Service is the service's name.
func Service(name string) zap.Field { return zap.String(keyService, name) }

// Conn is the connection's id, unique in the master's life.
func Conn(id string) zap.Field { return zap.String(keyConn, id) }

// PID is the worker's process id.
func PID(pid int) zap.Field { return zap.Int(keyPID, pid) }

// Peer is the address that the connection came from.
func Peer(address string) zap.Field { return zap.String(keyPeer, address) }

// Local is the address that is listened at, or that the connection came to.
func Local(address string) zap.Field { return zap.String(keyLocal, address) }

// Reason says in a word why a connection ended or was refused, or why the
// master drains.
func Reason(reason string) zap.Field { return zap.String(keyReason, reason) }

// ExitCode is the code that a worker exited with. A worker has either this or
// a Signal.
func ExitCode(code int) zap.Field { return zap.Int(keyExitCode, code) }

// Signal is the signal that ended a worker, or that the master acts on.
func Signal(s syscall.Signal) zap.Field { return zap.String(keySignal, SignalName(s)) }

// Duration is the time from accept to reap.
func Duration(d time.Duration) zap.Field { return zap.Duration(keyDuration, d) }

// BytesIn counts what the worker read from the peer.
func BytesIn(n uint64) zap.Field { return zap.Uint64(keyBytesIn, n) }

// BytesOut counts what the worker sent to the peer.
func BytesOut(n uint64) zap.Field { return zap.Uint64(keyBytesOut, n) }

// Report is what a worker's handler has to say beyond all that. The keys are
// the handler's, so they stand apart from the master's own.
func Report(values []ipc.Pair) zap.Field {
	fields := make([]zap.Field, len(values))
	for i, v := range values {
		fields[i] = zap.String(v.Key, v.Value)
	}
	return zap.Dict(keyReport, fields...)
}

// UserTime is the CPU time that a worker spent in user mode.
func UserTime(d time.Duration) zap.Field { return zap.Duration(keyUserTime, d) }

// SysTime is the CPU time that the kernel spent for a worker.
func SysTime(d time.Duration) zap.Field { return zap.Duration(keySysTime, d) }

// MaxRSS is a worker's peak resident set in bytes. The kernel counts it in
// KiB (getrusage(2)); the caller multiplies.
func MaxRSS(bytes int64) zap.Field { return zap.Int64(keyMaxRSS, bytes) }

// Source is what a peer is counted as: a prefix, or a user at a unix socket.
func Source(source fmt.Stringer) zap.Field { return zap.String(keySource, source.String()) }

// Suppressed is how many events of the same kind were left out before this one;
// nothing when none was.
func Suppressed(n uint64) zap.Field {
	if n == 0 {
		return zap.Skip()
	}
	return zap.Uint64(keySuppressed, n)
}

// Via is the proxy that the connection came from, where the peer is the client
// that the proxy speaks for; nothing when there is none.
func Via(address string) zap.Field {
	if address == "" {
		return zap.Skip()
	}
	return zap.String(keyVia, address)
}

// From is where a listening socket comes from: "passed" by a socket unit, or
// "stored" by an earlier process; nothing when the master has bound it.
func From(origin string) zap.Field {
	if origin == "" {
		return zap.Skip()
	}
	return zap.String(keyFrom, origin)
}

// Name is the FileDescriptorName= of a socket that was passed.
func Name(name string) zap.Field { return zap.String(keyName, name) }

// Sockets is a number of sockets.
func Sockets(n int) zap.Field { return zap.Int(keySockets, n) }

// Line is a line that a worker wrote.
func Line(text string) zap.Field { return zap.String(keyLine, text) }

// Error is the text of err; nothing when err is nil. zap.Error is not used
// because it adds a second, many-line field for errors that carry a stack.
func Error(err error) zap.Field {
	if err == nil {
		return zap.Skip()
	}
	return zap.String(keyError, err.Error())
}

// SignalName names a signal the way people know it. Real-time signals have no
// names of their own, only numbers.
func SignalName(s syscall.Signal) string {
	if name := unix.SignalName(s); name != "" {
		return name
	}
	return fmt.Sprintf("SIG%d", int(s))
}
