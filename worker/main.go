package worker

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/preforkd/preforkd/ipc"
)

// Serve is the complete main function of a program with one handler. It serves the
// connection that the process was started with, or the connections that it receives. It
// exits with a code of package ipc and does not return. Serve ignores the program's
// arguments.
func Serve(handler Handler) {
	exit(run(handler))
}

// Main is Serve for a program with several handlers. The program must have exactly one
// argument: the name of the handler. The master may add ipc.ArgumentBoxed.
func Main(handlers Handlers) {
	handler, err := handlers.byArguments(os.Args[1:])
	if err != nil {
		exit(&exitError{ipc.ExitUnknownHandler, err})
	}
	exit(run(handler))
}

// run serves one connection, or as many as the worker receives. It returns nil or an
// *exitError.
func run(handler Handler) error {
	hasConn, err := adoptDescriptors()
	if err != nil {
		if conn, found := detectStdio(); found {
			return conn.serve(handler)
		}
		return err
	}
	control := newControl(ipc.FDControl)
	for {
		a, err := control.nextAssignment(hasConn)
		if err != nil {
			return err
		}
		err = serve(newConn(ipc.FDConnection, a, control), handler)
		if !a.Reusable || fatal(err) || control.draining {
			return err
		}
		// The process continues, so nobody gets this exit code. The report has told the
		// master. An error for the operator still goes to stderr.
		printError(err)
		hasConn = false
	}
}

// An exitError is an error with an exit code. Its text goes to stderr.
type exitError struct {
	code int
	err  error // nil: nothing goes to stderr
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ipc.ExitName(e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// fatal reports whether a worker must not get another connection after this error.
func fatal(err error) bool {
	var end *exitError
	return errors.As(err, &end) && (end.code == ipc.ExitPanic || end.code == ipc.ExitProtocol)
}

// printError writes an error to stderr in one write, because many workers share stderr.
func printError(err error) {
	if end, ok := err.(*exitError); ok && end.err == nil || err == nil {
		return
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", programName(), err)
}

// exit ends the process with the exit code of run's result.
func exit(err error) {
	printError(err)
	code := ipc.ExitOK
	if end, ok := err.(*exitError); ok {
		code = end.code
	}
	os.Exit(code)
}

// programName returns the program's name without its directories. Error messages start
// with it.
func programName() string {
	return os.Args[0][strings.LastIndexByte(os.Args[0], '/')+1:]
}
