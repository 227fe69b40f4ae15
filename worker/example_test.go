package worker_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/worker"
)

// connect runs a handler on a connection, as a test of a handler does. It sends the
// client's bytes and prints the answer.
func connect(handler worker.Handler, send string) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		panic(err)
	}
	client := os.NewFile(uintptr(ends[0]), "client")
	client.WriteString(send)
	unix.Shutdown(ends[0], unix.SHUT_WR)
	c := worker.NewConn(ends[1], ipc.Assignment{Peer: "192.0.2.1:4242", Service: "example"})
	failure := handler(c)
	c.Close()
	answer, _ := io.ReadAll(client)
	client.Close()
	fmt.Printf("%s", answer)
	if failure != nil {
		fmt.Println("error:", failure)
	}
}

// An echo server is only io.Copy. As a program it is
//
//	func main() { worker.Serve(echo) }
func Example_echo() {
	echo := func(c *worker.Conn) error {
		_, err := io.Copy(c, c)
		return err
	}
	connect(echo, "hello\n")
	// Output: hello
}

// This is a line protocol: each request is a line and has one line as its answer. The
// log shows the number of requests.
func Example_lines() {
	shout := func(c *worker.Conn) error {
		requests := 0
		for lines := bufio.NewScanner(c); lines.Scan(); requests++ {
			if lines.Text() == "quit" {
				c.SetReason(ipc.ReasonQuitWord)
				break
			}
			if _, err := fmt.Fprintf(c, "%s!\n", strings.ToUpper(lines.Text())); err != nil {
				return err
			}
		}
		return c.Report("requests", fmt.Sprint(requests))
	}
	connect(shout, "hello\nis anybody there\nquit\n")
	// Output:
	// HELLO!
	// IS ANYBODY THERE!
}

// A handler can ask for the addresses and the service of its connection.
func ExampleConn() {
	about := func(c *worker.Conn) error {
		_, err := fmt.Fprintf(c, "%s of %s\n", c.Peer(), c.Service())
		return err
	}
	connect(about, "")
	// Output: 192.0.2.1:4242 of example
}
