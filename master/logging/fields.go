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
// event. Durations are in seconds with a fraction, and sizes are in bytes.
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
	keyStderrTail = "stderr_tail"
)

// Service is the name of the service.
func Service(name string) zap.Field { return zap.String(keyService, name) }

// Conn is the id of the connection, which is unique in the life of the master.
func Conn(id string) zap.Field { return zap.String(keyConn, id) }

// PID is the process id of the worker.
func PID(pid int) zap.Field { return zap.Int(keyPID, pid) }

// Peer is the address of the client.
func Peer(address string) zap.Field { return zap.String(keyPeer, address) }

// Local is the address of a listener, or the address to which the client has
// connected.
func Local(address string) zap.Field { return zap.String(keyLocal, address) }

// Reason says in one word why a connection ended or was refused, or why the
// master drains.
func Reason(reason string) zap.Field { return zap.String(keyReason, reason) }

// ExitCode is the exit code of a worker. The end of a worker has either this or
// Signal.
func ExitCode(code int) zap.Field { return zap.Int(keyExitCode, code) }

// Signal is the signal that has ended a worker, or that the master has
// received.
func Signal(s syscall.Signal) zap.Field { return zap.String(keySignal, SignalName(s)) }

// ExitStatus is the exit code of a child, or the signal that has ended it.
func ExitStatus(status unix.WaitStatus) zap.Field {
	if status.Signaled() {
		return Signal(status.Signal())
	}
	return ExitCode(status.ExitStatus())
}

// Duration is the time from accept to reap.
func Duration(d time.Duration) zap.Field { return zap.Duration(keyDuration, d) }

// BytesIn is how many bytes the worker has read from the peer.
func BytesIn(n uint64) zap.Field { return zap.Uint64(keyBytesIn, n) }

// BytesOut is how many bytes the worker has sent to the peer.
func BytesOut(n uint64) zap.Field { return zap.Uint64(keyBytesOut, n) }

// Report is what the handler of a worker reports in addition. The handler
// chooses the keys, so they are separate from the master's own.
func Report(values []ipc.Pair) zap.Field {
	fields := make([]zap.Field, len(values))
	for i, v := range values {
		fields[i] = zap.String(v.Key, v.Value)
	}
	return zap.Dict(keyReport, fields...)
}

// Usage are what a child used. The kernel counts the peak resident set in KiB
// (getrusage(2)).
func Usage(u *unix.Rusage) []zap.Field {
	return []zap.Field{UserTime(time.Duration(u.Utime.Nano())), SysTime(time.Duration(u.Stime.Nano())), MaxRSS(u.Maxrss << 10)}
}

// UserTime is the CPU time that a worker spent in user mode.
func UserTime(d time.Duration) zap.Field { return zap.Duration(keyUserTime, d) }

// SysTime is the CPU time that the kernel spent for a worker.
func SysTime(d time.Duration) zap.Field { return zap.Duration(keySysTime, d) }

// MaxRSS is the peak resident set of a worker in bytes.
func MaxRSS(bytes int64) zap.Field { return zap.Int64(keyMaxRSS, bytes) }

// Source is the source to which a peer belongs: a prefix, or a user at a unix
// socket.
func Source(source fmt.Stringer) zap.Field { return zap.String(keySource, source.String()) }

// Suppressed is how many events of the same kind were not logged before this
// one. With 0 there is no field.
func Suppressed(n uint64) zap.Field {
	if n == 0 {
		return zap.Skip()
	}
	return zap.Uint64(keySuppressed, n)
}

// Via is the proxy that has passed on the connection of the peer. Without a
// proxy there is no field.
func Via(address string) zap.Field {
	if address == "" {
		return zap.Skip()
	}
	return zap.String(keyVia, address)
}

// From is the origin of a listening socket: "passed" by a socket unit, or
// "stored" by an earlier process. If the master has bound the socket, there is
// no field.
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

// Line is a line that a worker has written.
func Line(text string) zap.Field { return zap.String(keyLine, text) }

// StderrTail is the last lines that a worker wrote to fd 2 before it failed. If
// there are none, there is no field.
func StderrTail(lines string) zap.Field {
	if lines == "" {
		return zap.Skip()
	}
	return zap.String(keyStderrTail, lines)
}

// Error is the text of err. If err is nil, there is no field. zap.Error would
// add a second field with many lines for an error that has a stack.
func Error(err error) zap.Field {
	if err == nil {
		return zap.Skip()
	}
	return zap.String(keyError, err.Error())
}

// SignalName returns the usual name of a signal. Real-time signals have numbers
// only.
func SignalName(s syscall.Signal) string {
	if name := unix.SignalName(s); name != "" {
		return name
	}
	return fmt.Sprintf("SIG%d", int(s))
}
