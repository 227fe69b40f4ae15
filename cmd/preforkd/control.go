package main

import (
	"cmp"
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

// A controlCommand is a command that sends a request to a running master.
type controlCommand struct {
	use, short, long, example string

	arguments cobra.PositionalArgs
	timeout   time.Duration // of the whole command; 0 stands for controlTimeout
	run       func(ctx context.Context, cmd *cobra.Command, client *control.Client, args []string) error
}

// A running master answers at once. A reload may have to wait for name servers.
const (
	controlTimeout = 15 * time.Second
	reloadTimeout  = time.Minute
)

// command returns the cobra command, with the flag that selects the master.
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
		ctx, cancel := context.WithTimeout(cmd.Context(), cmp.Or(c.timeout, controlTimeout))
		defer cancel()
		return c.run(ctx, cmd, client, args)
	}
	return cmd
}

// masterError converts an error of the master to an error of this program. A request
// that the master finds invalid is bad usage.
func masterError(err error) error {
	if e, ok := errors.AsType[*control.Error](err); ok && e.Kind == control.Invalid {
		return err
	}
	return failure(err)
}

// argCount accepts minArgs to maxArgs arguments.
func argCount(minArgs, maxArgs int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < minArgs || len(args) > maxArgs {
			return fmt.Errorf("%s takes %s, and got %d arguments: see %s --help", cmd.Name(), what, len(args), cmd.CommandPath())
		}
		return nil
	}
}

// printJSON prints a value as indented JSON.
func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// joinPrintable joins names to one line and makes them safe to print. A path may
// contain anything.
func joinPrintable(names []string) string {
	var printable []string
	for _, name := range names {
		printable = append(printable, human.Printable(name))
	}
	return strings.Join(printable, ", ")
}
