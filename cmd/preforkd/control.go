package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/human"
)

// A controlCommand is a command that asks something of a running master.
type controlCommand struct {
	use, short, long, example string

	arguments cobra.PositionalArgs
	run       func(ctx context.Context, cmd *cobra.Command, client *control.Client, args []string) error
}

// A master that is alive answers at once; a reload may have to ask name servers.
const (
	controlTimeout = 15 * time.Second
	reloadTimeout  = time.Minute
)

// command makes a command of it, with the flag that says which master is meant.
func (c controlCommand) command() *cobra.Command {
	var path string
	cmd := &cobra.Command{Use: c.use, Short: c.short, Long: c.long, Example: c.example, Args: c.arguments}
	cmd.Flags().StringVar(&path, "control", "", "ask the master with the control socket `PATH` (default where this user's master has it, else root's)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if path == "" {
			path = control.FindPath()
		}
		client := control.NewClient(path)
		defer client.Close()
		timeout := controlTimeout
		if cmd.Name() == "reload" {
			timeout = reloadTimeout
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
		defer cancel()
		return c.run(ctx, cmd, client, args)
	}
	return cmd
}

// refused makes the program's error of a master's. What makes no sense to the
// master is bad usage.
func refused(err error) error {
	if e, ok := errors.AsType[*control.Error](err); ok && e.Kind == control.Invalid {
		return err
	}
	return failure(err)
}

// between is the form of arguments that a control command takes.
func between(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return fmt.Errorf("%s takes %s, and got %d arguments: see %s --help", cmd.Name(), what, len(args), cmd.CommandPath())
		}
		return nil
	}
}

// printJSON prints a value for programs, and for people who read as they do.
func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// list writes names on one line, whatever is in them: a path may hold anything.
func list(names []string) string {
	var printable []string
	for _, name := range names {
		printable = append(printable, human.Printable(name))
	}
	return strings.Join(printable, ", ")
}
