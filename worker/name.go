package worker

import (
	"os"

	"github.com/preforkd/preforkd/ipc/procname"
)

// The master executes the worker binary by the descriptor of its file.
func init() { procname.Restore(os.Args) }
