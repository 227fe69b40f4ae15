package counts

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// asDouble makes the test program a server that stands in for preforkd; its
// value is the fault that the server has.
const asDouble = "PREFORKD_COUNTS_DOUBLE"

// kept is what a fault never lets go of.
var kept []any

// faults are what a change can make a server do for each connection.
var faults = map[string]func(){
	"none":               func() {},
	"a system call":      func() { unix.Getppid() },
	"a call more of one": func() { fd, _ := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0); unix.Close(fd) },
	"a descriptor":       func() { unix.Dup(2) },
	"a goroutine":        func() { go func() { select {} }() },
	"a thread": func() {
		go func() {
			runtime.LockOSThread()
			select {}
		}()
	},
	"a line of log": func() { fmt.Fprintln(os.Stderr, "and another line") },
	"allocations": func() {
		for range 50 {
			kept = []any{make([]byte, 200)}
		}
	},
	"memory": func() {
		page := make([]byte, 256<<10)
		for i := range page {
			page[i] = 1
		}
		kept = append(kept, page)
	},
}

// double serves connections at a port, each by cat, and what the Go runtime
// says at another one.
func double(fault func(), port, metrics string) error {
	l, err := net.Listen("tcp4", "127.0.0.1:"+port)
	if err != nil {
		return err
	}
	go http.ListenAndServe("127.0.0.1:"+metrics, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		fmt.Fprintf(w, "go_memstats_mallocs_total %d\ngo_memstats_alloc_bytes_total %d\ngo_goroutines %d\n", m.Mallocs, m.TotalAlloc, runtime.NumGoroutine())
	}))
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		f, err := conn.(*net.TCPConn).File()
		if err != nil {
			return err
		}
		conn.Close()
		cmd := exec.Command("/bin/cat")
		cmd.Stdin, cmd.Stdout = f, f
		if err := cmd.Start(); err != nil {
			return err
		}
		f.Close()
		fault()
		if err := cmd.Wait(); err != nil {
			return err
		}
		fmt.Fprintln(os.Stderr, "one more is over")
	}
}
