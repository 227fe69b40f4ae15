package worker_test

import (
	"fmt"
	"io"
	"strings"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/worker"
)

// A panic in a handler ends only its own process. The process writes the stack to
// stderr, reports the reason "panic" and exits with ipc.ExitPanic. The client gets what
// was written before the panic. This example runs the following program in a process of
// its own, as a master does:
//
//	func main() { worker.Serve(indexPanic) }
func Example_panic() {
	w, client := spawn("index panic")
	answer, _ := io.ReadAll(client)
	code := w.exit()
	first, _, _ := strings.Cut(w.stderr.String(), "\n")
	fmt.Printf("client: %s\nexit:   %s\nstderr: %s\n", answer, ipc.ExitName(code), first)
	// Output:
	// client: just a moment
	// exit:   handler panicked
	// stderr: mine: connection c1: panic: runtime error: index out of range [0] with length 0
}

func indexPanic(c *worker.Conn) error {
	fmt.Fprint(c, "just a moment")
	words := strings.Fields(c.Setting("greeting"))
	_, err := fmt.Fprint(c, words[0])
	return err
}
