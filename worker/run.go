package worker

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
)

// Main is the whole of a worker program: it serves the connection on
// ipc.FDConnection with the handler that the first argument names, and exits
// with a code of package ipc. It does not return.
func Main(handlers Handlers) {
	os.Exit(Run(os.Args, handlers))
}

// Run is Main with the arguments given, args[0] being the program's name, and
// the exit code returned. It takes over ipc.FDConnection and ipc.FDControl and
// leaves both closed.
func Run(args []string, handlers Handlers) int {
	code, err := run(args, handlers)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", programName(args), err)
	}
	return code
}

// run returns the exit code and what stderr has to say about it.
func run(args []string, handlers Handlers) (int, error) {
	if err := adopt(); err != nil {
		return ipc.ExitDescriptors, err
	}
	defer unix.Close(ipc.FDControl)
	handler, err := handlers.choose(args[1:])
	if err != nil {
		return ipc.ExitUnknownHandler, err
	}
	assignment, err := receiveAssignment(ipc.FDControl)
	if err != nil {
		var exit *exitError
		errors.As(err, &exit)
		return exit.code, err
	}
	return serve(NewConn(ipc.FDConnection, assignment), handler, ipc.FDControl)
}

// programName is what errors start with: the program's name without its
// directories.
func programName(args []string) string {
	return args[0][strings.LastIndexByte(args[0], '/')+1:]
}
