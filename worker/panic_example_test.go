package worker_test

import (
	"fmt"
	"io"
	"strings"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/worker"
)

// A handler that panics takes nobody with it. Its process writes the stack to
// stderr, reports the reason "panic" and exits with ipc.ExitPanic; its client
// gets what was written before. This example runs this one in a process of its
// own, as a master does:
//
//	func main() { worker.Serve(careless) }
func Example_panic() {
	w, client := spawn("careless")
	answer, _ := io.ReadAll(client)
	code := w.exit()
	first, _, _ := strings.Cut(w.stderr.String(), "\n")
	fmt.Printf("client: %s\nexit:   %s\nstderr: %s\n", answer, ipc.ExitName(code), first)
	// Output:
	// client: just a moment
	// exit:   handler panicked
	// stderr: mine: connection c1: panic: runtime error: index out of range [0] with length 0
}

func careless(c *worker.Conn) error {
	fmt.Fprint(c, "just a moment")
	words := strings.Fields(c.Setting("greeting"))
	_, err := fmt.Fprint(c, words[0])
	return err
}
