package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/worker/sockettest"
)

// minimalProgram is the smallest Go program that echoes fd 3. It shows the cost of any
// worker in Go.
const minimalProgram = `package main

import (
	"os"
	"syscall"
)

func main() {
	b := make([]byte, 65536)
	for {
		n, err := syscall.Read(3, b)
		if n <= 0 || err != nil {
			return
		}
		for done := 0; done < n; {
			m, err := syscall.Write(3, b[done:n])
			if err != nil {
				os.Exit(1)
			}
			done += m
		}
	}
}
`

func build(b *testing.B, name, source string) string {
	b.Helper()
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o600); err != nil {
		b.Fatal(err)
	}
	out := filepath.Join(dir, name)
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, filepath.Join(dir, "main.go"))
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, said)
	}
	return out
}

// serveOnce runs a program that serves one connection of six bytes. It returns the CPU
// time of the whole process, in seconds.
func serveOnce(b *testing.B, path string, message []byte) float64 {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(ends[0])
	master, control, err := ipc.NewChannel()
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(master)
	if err := ipc.Send(master, message); err != nil {
		b.Fatal(err)
	}
	unix.Write(ends[0], []byte("hello\n"))
	unix.Shutdown(ends[0], unix.SHUT_WR)
	connection, channel := os.NewFile(uintptr(ends[1]), "connection"), os.NewFile(uintptr(control), "control")
	cmd := exec.Command(path, "echo")
	cmd.ExtraFiles = []*os.File{connection, channel}
	cmd.Env = []string{}
	err = cmd.Run()
	connection.Close()
	channel.Close()
	if err != nil {
		b.Fatal(err)
	}
	return (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
}

// BenchmarkSpawnAndExit compares the CPU time of a worker's whole life with that of the
// smallest Go program. The two run in turn, so that a busy machine slows both.
// worker/bare is the ratio of the medians; it may be at most 1.25.
//
//	go test -run xxx -bench SpawnAndExit -benchtime 1000x ./cmd/preforkd-worker
func BenchmarkSpawnAndExit(b *testing.B) {
	worker := filepath.Join(b.TempDir(), "preforkd-worker")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", worker, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, said)
	}
	programs := []string{build(b, "bare", minimalProgram), worker}
	message, err := (&ipc.Assignment{Connection: "c1", Service: "echo", Peer: "127.0.0.1:4242", Local: "127.0.0.1:7007"}).Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	times := make([][]float64, len(programs))
	for b.Loop() {
		for i, path := range programs {
			times[i] = append(times[i], serveOnce(b, path, message))
		}
	}
	median := func(all []float64) float64 {
		slices.Sort(all)
		return all[len(all)/2]
	}
	b.ReportMetric(median(times[0])*1e6, "bare-µs")
	b.ReportMetric(median(times[1])*1e6, "worker-µs")
	b.ReportMetric(median(times[1])/median(times[0]), "worker/bare")
}

// BenchmarkHandover measures the time from accept to the first byte of the answer. It
// compares a worker that is started for the connection, a waiting spare, and a spare
// that has served before.
func BenchmarkHandover(b *testing.B) {
	encode := func(b *testing.B, more bool) []byte {
		msg, err := (&ipc.Assignment{Connection: "c1", Service: "echo", Reusable: more}).Append(nil)
		if err != nil {
			b.Fatal(err)
		}
		return msg
	}
	// first waits for the answer to a byte that was already sent.
	first := func(b *testing.B, client sockettest.Client) {
		if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
			b.Fatal(err)
		}
	}
	launch := func(b *testing.B, fd int, messages ...[]byte) (*exec.Cmd, int) {
		master, end, err := ipc.NewChannel()
		if err != nil {
			b.Fatal(err)
		}
		for _, msg := range messages {
			ipc.Send(master, msg)
		}
		cmd := exec.Command(binary, "echo")
		cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(fd), "connection"), os.NewFile(uintptr(end), "control")}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		for _, f := range cmd.ExtraFiles {
			f.Close()
		}
		return cmd, master
	}
	null := func() int {
		fd, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			b.Fatal(err)
		}
		return fd
	}
	// await reads the worker's next message, which must have the wanted type.
	await := func(b *testing.B, control int, want ipc.Type) {
		if typ, _, err := ipc.Receive(control, make([]byte, ipc.MaxMessage), 0); typ != want || err != nil {
			b.Fatal(typ, err)
		}
	}
	b.Run("spawned", func(b *testing.B) {
		var total time.Duration
		for b.Loop() {
			server, client := sockettest.TCP(b)
			client.Write([]byte("x"))
			start := time.Now()
			cmd, control := launch(b, server, encode(b, false))
			first(b, client)
			total += time.Since(start)
			client.Close()
			cmd.Wait()
			unix.Close(control)
		}
		b.ReportMetric(float64(total.Microseconds())/float64(b.N), "µs/handover")
	})
	b.Run("spare", func(b *testing.B) {
		var total time.Duration
		for b.Loop() {
			cmd, control := launch(b, null())
			await(b, control, ipc.TypeReady)
			server, client := sockettest.TCP(b)
			client.Write([]byte("x"))
			start := time.Now()
			ipc.SendConnection(control, encode(b, false), server)
			unix.Close(server)
			first(b, client)
			total += time.Since(start)
			client.Close()
			cmd.Wait()
			unix.Close(control)
		}
		b.ReportMetric(float64(total.Microseconds())/float64(b.N), "µs/handover")
	})
	b.Run("reused", func(b *testing.B) {
		var total time.Duration
		cmd, control := launch(b, null())
		for b.Loop() {
			await(b, control, ipc.TypeReady)
			server, client := sockettest.TCP(b)
			client.Write([]byte("x"))
			start := time.Now()
			ipc.SendConnection(control, encode(b, true), server)
			unix.Close(server)
			first(b, client)
			total += time.Since(start)
			client.Close()
			await(b, control, ipc.TypeAck)
			await(b, control, ipc.TypeReport)
		}
		unix.Close(control)
		cmd.Wait()
		b.ReportMetric(float64(total.Microseconds())/float64(b.N), "µs/handover")
	})
}
