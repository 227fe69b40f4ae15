package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/control"
)

func newExplain() *cobra.Command {
	var asJSON bool
	cmd := controlCommand{
		use:   "explain ADDR [SERVICE]",
		short: "Say what would become of a connection from an address now, and why",
		long: `Explain asks the master what would become of a connection from an address, if it
came now: whether it is admitted, refused, or has to wait, by which rule or
limit, and until when. Where the log does not tell of all connections, it says by
which rule. It asks for every service, or for one, and changes
nothing.

ADDR is an IP address, or for unix sockets uid: and a user's name or number.`,
		example:   "  preforkd explain 192.0.2.7\n  preforkd explain uid:www-data git",
		arguments: argCount(1, 2, "an address and at most one service"),
		run: func(ctx context.Context, cmd *cobra.Command, client *control.Client, args []string) error {
			service := ""
			if len(args) > 1 {
				service = args[1]
			}
			e, err := client.Explain(ctx, args[0], service)
			if err != nil {
				return masterError(err)
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), e)
			}
			now := time.Now()
			for _, x := range e.Services {
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), explainLine(x, now)); err != nil {
					return err
				}
			}
			return nil
		},
	}.command()
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	return cmd
}

// explainLine formats the explanation of one service as a line.
func explainLine(x control.Explanation, now time.Time) string {
	line := fmt.Sprintf("%s: %s", x.Service, x.Outcome)
	if x.Reason != "" {
		line += " for " + x.Reason
	}
	if x.By != "" && x.By != x.Reason {
		line += ", by " + x.By
	}
	if x.Until != nil {
		line += fmt.Sprintf(", until %s (%v)", x.Until.Local().Format(time.TimeOnly), max(x.Until.Sub(now), 0).Round(100*time.Millisecond))
	}
	if x.EarlyDrop > 0 && x.EarlyDrop < 1 {
		line += fmt.Sprintf(", but for %.0f %% refused at random", 100*x.EarlyDrop)
	}
	line += fmt.Sprintf("; %s has %d live", x.Source, x.Live)
	switch {
	case x.LogBy != "":
		line += fmt.Sprintf("; log %s, by %s", x.Log, x.LogBy)
	case x.Log != string(config.LogAll):
		line += "; log " + x.Log
	}
	if x.Note != "" {
		line += "; " + x.Note
	}
	return line
}
