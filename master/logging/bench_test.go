package logging

import (
	"os"
	"testing"
	"time"
)

// BenchmarkReaped measures what the event for the end of a connection costs the
// master's loop.
func BenchmarkReaped(b *testing.B) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	for _, format := range []Format{FormatJSON, FormatConsole} {
		b.Run(string(format), func(b *testing.B) {
			l, err := New(Options{Format: format, Output: null})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				l.Info(EventReaped, Service("echo"), Conn("4711"), PID(4711),
					Peer("127.0.0.1:50312"), Local("127.0.0.1:7007"), Reason("eof"), ExitCode(0),
					Duration(1234*time.Millisecond), BytesIn(5), BytesOut(5),
					UserTime(time.Millisecond), SysTime(time.Millisecond), MaxRSS(4<<20))
			}
			if err := l.Close(time.Minute); err != nil {
				b.Error(err)
			}
		})
	}
}
