// The runtime of this program may skip a look at its cgroup's CPU quota: it
// would read the mount table and keep the quota's files open for its whole
// life, for the sake of a process that runs one goroutine.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
package main

import (
	"os"

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
	// A handler of this program needs its descriptors and nothing else. The
	// programs that it becomes are somebody else's and get what they ask for.
	confined := confine.Apply(worker.IsSpare())
	worker.Main(worker.Handlers{"echo": confined.Handler(echo.Serve)})
}
