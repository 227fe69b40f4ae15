package netconn_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/worker"
	"github.com/preforkd/preforkd/worker/netconn"
)

// This example serves HTTP on the one connection of a process, while the client keeps
// it open. As a program it is
//
//	func main() { worker.Serve(serve) }
func ExampleServe() {
	serve := func(c *worker.Conn) error {
		return netconn.Serve(c, &http.Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprintf(w, "hello, %s", r.RemoteAddr)
			}),
		})
	}

	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		panic(err)
	}
	client := os.NewFile(uintptr(ends[0]), "client")
	defer client.Close()
	go func() {
		c := worker.NewConn(ends[1], ipc.Assignment{Peer: "192.0.2.1:4242"})
		defer c.Close()
		if err := serve(c); err != nil {
			panic(err)
		}
	}()
	answers := bufio.NewReader(client)
	for range 2 {
		fmt.Fprint(client, "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
		answer, err := http.ReadResponse(answers, nil)
		if err != nil {
			panic(err)
		}
		body, _ := io.ReadAll(answer.Body)
		fmt.Printf("%s: %s\n", answer.Status, body)
	}
	// Output:
	// 200 OK: hello, 192.0.2.1:4242
	// 200 OK: hello, 192.0.2.1:4242
}
