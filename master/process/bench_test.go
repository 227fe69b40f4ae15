package process

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
)

// BenchmarkStart measures what the start of a worker costs the master, for both
// handoffs, and by the descriptor of the program. For comparison it measures the
// same start with exec.Cmd alone, and with syscall.ForkExec, on which exec.Cmd is
// built. The metric µs/start does not include the program's own life and its
// reaping. The allocations are those of all.
func BenchmarkStart(b *testing.B) {
	program, err := exec.LookPath("true")
	if err != nil {
		b.Fatal(err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	args, env := []string{program}, []string{"PROTO=TCP", "TCPREMOTEIP=127.0.0.1"}
	message, err := (&ipc.Assignment{Connection: "c1", Service: "test"}).Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	_, file := opened(b, program)
	command := func(control bool, file *os.File) func(*os.File) (int, error) {
		c := Command{Path: program, File: file, Args: args, Control: control, Null: null, Stderr: os.Stderr}
		return func(conn *os.File) (int, error) {
			c.ReadAhead()
			child, err := c.Start(conn, env, message)
			if err != nil {
				return 0, err
			}
			if control {
				unix.Close(child.Control)
			}
			conn.Close()
			child.ReleaseHandle()
			return child.Pid, nil
		}
	}
	for _, way := range []struct {
		name  string
		start func(conn *os.File) (int, error)
	}{
		{"stdio", command(false, nil)},
		{"worker", command(true, nil)},
		{"file", command(true, file)},
		{"exec.Cmd", func(conn *os.File) (int, error) {
			cmd := exec.Cmd{Path: program, Args: args, Env: env, Stdin: conn, Stdout: conn, Stderr: os.Stderr,
				SysProcAttr: &syscall.SysProcAttr{Setpgid: true}}
			if err := cmd.Start(); err != nil {
				return 0, err
			}
			conn.Close()
			return cmd.Process.Pid, cmd.Process.Release()
		}},
		{"ForkExec", func(conn *os.File) (int, error) {
			pid, err := syscall.ForkExec(program, args, &syscall.ProcAttr{Env: env,
				Files: []uintptr{conn.Fd(), conn.Fd(), 2}, Sys: &syscall.SysProcAttr{Setpgid: true}})
			conn.Close()
			return pid, err
		}},
	} {
		b.Run(way.name, func(b *testing.B) {
			var total time.Duration
			b.ReportAllocs()
			for b.Loop() {
				conn := os.NewFile(uintptr(dup(b, null)), "connection")
				begun := time.Now()
				pid, err := way.start(conn)
				total += time.Since(begun)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := unix.Wait4(pid, nil, 0, nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(total.Nanoseconds())/1000/float64(b.N), "µs/start")
		})
	}
}

func dup(b *testing.B, f *os.File) int {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	return fd
}
