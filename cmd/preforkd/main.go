package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/ipc/procname"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/osthread"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/threads"
)

// These are the exit codes of preforkd itself. serve --once exits with the worker's
// code instead.
const (
	exitOK      = 0 // clean stop
	exitFailure = 1 // failure at run time
	exitUsage   = 2 // bad usage or configuration
)

// An exitError ends the program with its exit code. A nil err prints nothing, because
// the message was already printed.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit with code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// failure marks an error as a run-time failure. Unmarked errors come from cobra and
// from validation and mean bad usage.
func failure(err error) error { return &exitError{code: exitFailure, err: err} }

// mainProgram is what main runs. With the tag manual it is another one.
var mainProgram = run

func init() {
	// Go gets ready for locked threads with a thread that this one starts, so this comes
	// first.
	osthread.TakeSlack()
	// A master executes another version of itself by the descriptor of the file.
	procname.Restore(os.Args)
	// The main thread forks nothing, so that what it has for children are orphans.
	process.LockMainThread()
}

func main() {
	if threads.RunProbe(os.Args) { // a child that serve has started
		return
	}
	os.Exit(process.LeaveMainThread(func() int { return mainProgram(os.Args[1:]) }))
}

// run executes one command line and returns the exit code. It prints an error as one
// line on stderr, and the errors of a configuration file as one line each.
func run(args []string) int {
	root := newRoot()
	root.SetArgs(args)
	err := root.Execute()
	if err == nil {
		return exitOK
	}
	code := exitUsage
	var exit *exitError
	if errors.As(err, &exit) {
		code = exit.code
		if exit.err == nil {
			return code
		}
	}
	if mistakes, ok := errors.AsType[config.ConfigErrors](err); ok && mistakes[len(mistakes)-1].At.IsValid() {
		// Each line begins with the place in the file, as editors and people know it
		// from compilers. What is wrong with a flag beside the file comes first.
		for _, mistake := range mistakes {
			if !mistake.At.IsValid() {
				fmt.Fprint(os.Stderr, "preforkd: ")
			}
			fmt.Fprintln(os.Stderr, errorLine(mistake))
		}
		return code
	}
	fmt.Fprintf(os.Stderr, "preforkd: %s\n", errorLine(err))
	return code
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "preforkd",
		Short: "A process for every connection",
		Long: `preforkd accepts connections and gives each one to a process of its own,
so that a crash, a leak or a break-in stays in the connection it came with.`,
		Version:       ipc.Version,
		SilenceErrors: true, // run prints them
		SilenceUsage:  true, // an error is one line
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.AddCommand(newServe(), newCheck(), newBox(), newStatus(), newTop(), newDrain(), newResume(), newReload(), newUpgrade(), newKill(), newLearn(), newLogLevel(), newExplain(),
		newConnect(), newChat(), newSender(), newVersion())
	completeNames(root)
	return root
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "preforkd %s\n", ipc.Version)
			return err
		},
	}
}
