package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/config"
)

// Exit codes of preforkd itself. With serve --once the worker's own code takes
// their place.
const (
	exitOK      = 0 // clean stop
	exitFailure = 1 // failure at run time
	exitUsage   = 2 // bad usage or configuration
)

// An exitError ends the program with a code of its choice. A nil err prints
// nothing: whoever returned it has said all there is to say.
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

// failure marks an error as one of run time. Errors without a mark are those
// of cobra and of validation: usage.
func failure(err error) error { return &exitError{code: exitFailure, err: err} }

// mainProgram is what main runs. With the tag manual it is another one.
var mainProgram = run

func main() { os.Exit(mainProgram(os.Args[1:])) }

// run executes one command line and returns the exit code. An error is one
// line on stderr; those of a configuration file are a line each.
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
	if mistakes, ok := errors.AsType[config.Mistakes](err); ok && mistakes[0].At.IsValid() {
		// Each on a line that begins with its place, as editors and people
		// know them from compilers.
		for _, mistake := range mistakes {
			fmt.Fprintln(os.Stderr, complaint(mistake))
		}
		return code
	}
	fmt.Fprintf(os.Stderr, "preforkd: %s\n", complaint(err))
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
	root.AddCommand(newServe(), newCheck(), newStatus(), newTop(), newDrain(), newReload(), newKill(), newLogLevel(), newExplain(),
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
