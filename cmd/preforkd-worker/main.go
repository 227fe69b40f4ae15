// Go's runtime does not need its cgroup's CPU quota here. It would read the mount table
// and keep the quota's files open for the whole life of the process, which runs only
// one goroutine.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
package main

import (
	"os"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/worker"
	"github.com/preforkd/preforkd/worker/confine"
	"github.com/preforkd/preforkd/worker/echo"
)

func main() {
	if worker.IsExecMode(os.Args) {
		worker.ExecProgram(os.Args)
	}
	// A spare whose warm-up failed serves as well, but its first connection is slower.
	_ = worker.WarmUp(echo.Serve, []byte("\n"))
	// A built-in handler needs only its descriptors, so it is confined. A program that
	// this worker executes is not part of preforkd and is not confined.
	confined := confine.Apply(worker.IsSpare(), os.Args[len(os.Args)-1] == ipc.ArgumentBoxed)
	worker.Main(worker.Handlers{"echo": confined.Handler(echo.Serve)})
}
