package worker

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/preforkd/preforkd/ipc"
)

// Serve is the whole of a program with one handler: it serves the connection
// that the process was started with, or those that it is sent, and exits with
// a code of package ipc. It does not return. The program's arguments are its
// own; Serve looks at none of them.
func Serve(handler Handler) {
	exit(run(handler))
}

// Main is Serve for a program with several handlers. The first argument, and
// there must be no other, names the one that is meant.
func Main(handlers Handlers) {
	handler, err := handlers.choose(os.Args[1:])
	if err != nil {
		exit(&exitError{ipc.ExitUnknownHandler, err})
	}
	exit(run(handler))
}

// run is the life of a worker: one connection, or as many as it is sent. It
// returns nil or an *exitError.
func run(handler Handler) error {
	held, err := adopt()
	if err != nil {
		if conn, byHand := standardStreams(); byHand {
			return conn.serve(handler)
		}
		return err
	}
	control := newControl(ipc.FDControl)
	for {
		a, err := control.next(held)
		if err != nil {
			return err
		}
		err = serve(newConn(ipc.FDConnection, a, control), handler)
		if !a.More || fatal(err) || control.draining {
			return err
		}
		// The code of an end that others follow has nobody to go to, and the
		// report has told the master; what is for stderr still goes there.
		complain(err)
		held = false
	}
}

// An exitError is an end with an exit code of its own, and what stderr has to
// say about it, which may be nothing.
type exitError struct {
	code int
	err  error // nil: there is nothing to say
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ipc.ExitName(e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// fatal reports whether a worker that has ended a connection like this must
// not be given another.
func fatal(err error) bool {
	var end *exitError
	return errors.As(err, &end) && (end.code == ipc.ExitPanic || end.code == ipc.ExitProtocol)
}

// complain writes what belongs on stderr, in one write: many workers share it.
func complain(err error) {
	if end, ok := err.(*exitError); ok && end.err == nil || err == nil {
		return
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", programName(), err)
}

// exit ends the process as run's result demands.
func exit(err error) {
	complain(err)
	code := ipc.ExitOK
	if end, ok := err.(*exitError); ok {
		code = end.code
	}
	os.Exit(code)
}

// programName is what errors start with: the program's name without its
// directories.
func programName() string {
	return os.Args[0][strings.LastIndexByte(os.Args[0], '/')+1:]
}
