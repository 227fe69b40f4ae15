package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/preforkd/preforkd/cmd/internal/statusview"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/human"
)

// These are the exit codes of status, besides exitOK.
const (
	exitDegraded   = 1 // the master runs and has a problem
	exitNotRunning = 3
)

func newStatus() *cobra.Command {
	var asJSON, check bool
	var full time.Duration
	cmd := controlCommand{
		use:   "status",
		short: "Look at the running master, its services and its connections",
		long: `Status takes one look at the running master: its services with their listeners,
counts and spares, and every connection with the process that serves it.

With --check it says in a line or a few how the master is, and exits with 0 when
it serves, 1 when it is degraded or stopping, and 3 when none is running. With
--check-full a service counts as well that is full while clients wait for a slot
or are turned away: with --check-full=30s one that has been so for 30 seconds.`,
		example: `  preforkd status
  preforkd status --json | jq '.connections | length'
  preforkd status --check || systemctl restart preforkd
  preforkd status --check-full=1m`,
		arguments: argCount(0, 0, "no arguments"),
		run: func(ctx context.Context, cmd *cobra.Command, client *control.Client, _ []string) error {
			s, err := client.Status(ctx)
			switch {
			case errors.Is(err, control.ErrNotRunning):
				return &exitError{exitNotRunning, err}
			case err != nil:
				return masterError(err)
			case check, cmd.Flags().Changed("check-full"):
				addFull(&s, cmd.Flags().Changed("check-full"), full)
				return printCheck(cmd.OutOrStdout(), s)
			case asJSON:
				return printJSON(cmd.OutOrStdout(), s)
			}
			return printStatus(cmd.OutOrStdout(), s)
		},
	}.command()
	cmd.Flags().BoolVar(&asJSON, "json", false, "print all of it as JSON")
	cmd.Flags().BoolVar(&check, "check", false, "say only whether all is well, in words and by the exit code")
	cmd.Flags().DurationVar(&full, "check-full", 0, "as --check, and a service is not well that has been full for `DURATION`")
	cmd.Flags().Lookup("check-full").NoOptDefVal = "0s"
	cmd.MarkFlagsMutuallyExclusive("json", "check")
	cmd.MarkFlagsMutuallyExclusive("json", "check-full")
	return cmd
}

// printStatus prints a status for people, as wide as their terminal.
func printStatus(w io.Writer, s control.Status) error {
	width := 0
	if f, ok := w.(*os.File); ok {
		width = statusview.TerminalWidth(f)
	}
	return statusview.Write(w, s, width)
}

// addFull adds a problem for each service that has been full for as long as said, if
// that is asked for.
func addFull(s *control.Status, asked bool, least time.Duration) {
	for i := range s.Services {
		v := &s.Services[i]
		if !asked || v.FullSince == nil {
			continue
		}
		if lasted := s.Taken.Sub(*v.FullSince); lasted >= least {
			s.Master.Problems = append(s.Master.Problems, control.Problem{
				Service: v.Name, Reason: fmt.Sprintf("full for %s, with %d connections of %d", human.Duration(max(lasted, 0)), v.Live, v.Limit),
			})
		}
	}
}

// printCheck prints the state of a master and returns the matching exit code as an
// error.
func printCheck(w io.Writer, s control.Status) error {
	if s.Master.State == "serving" && len(s.Master.Problems) == 0 {
		fmt.Fprintln(w, "serving")
		return nil
	}
	if s.Master.State != "serving" {
		fmt.Fprintln(w, s.Master.State)
	}
	for _, p := range s.Master.Problems {
		if p.Service != "" {
			fmt.Fprintf(w, "degraded: service %s: %s\n", human.Printable(p.Service), human.Printable(p.Reason))
		} else {
			fmt.Fprintf(w, "degraded: %s\n", human.Printable(p.Reason))
		}
	}
	return &exitError{code: exitDegraded}
}
