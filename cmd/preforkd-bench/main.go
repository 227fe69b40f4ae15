package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailure     = 1 // a failure at run time, or a ratio worse than its bound
	exitUsage       = 2
	exitInterrupted = 130
)

// errInterrupted is the cause of a context that a signal has ended.
var errInterrupted = errors.New("interrupted")

// usageError marks what the user has to change.
type usageError struct{ error }

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	// Every signal that would end this process ends the run instead, so that
	// the servers are stopped on the way out. SIGPIPE is among them: the reader
	// of the output may be gone.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGPIPE)
	go func() {
		<-signals
		cancel(errInterrupted)
	}()

	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errInterrupted):
		fmt.Fprintln(os.Stderr, "preforkd-bench: interrupted; all servers are stopped")
		return exitInterrupted
	}
	fmt.Fprintf(os.Stderr, "preforkd-bench: %v\n", err)
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailure
}

func newRoot() *cobra.Command {
	root := newCompare()
	root.SilenceErrors, root.SilenceUsage = true, true // run prints them
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(newList(), newShow(), newReduce(), newDocument(), newCheck(), newCounts())
	return root
}
