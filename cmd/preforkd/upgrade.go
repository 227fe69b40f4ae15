package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/preforkd/preforkd/cmd/internal/statusview"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/human"
)

// upgradeTimeout is how long an upgrade may take. Its rehearsal has ten seconds, and a
// configuration may have to wait for name servers, before it and after it.
const upgradeTimeout = 2 * time.Minute

func newUpgrade() *cobra.Command {
	var request control.UpgradeRequest
	var asJSON bool
	cmd := controlCommand{
		use:   "upgrade",
		short: "Have a new version take over in the running master's process",
		long: `Upgrade has the running master execute a new program in its own process. Nothing
is interrupted: the process id stays, listeners stay open, and live connections and
their workers go on as children of the new program, which knows all that the old
one knew. The new program reads the configuration again, as reload does.

The new program first runs as a child that tries to take over a copy of the
state. If that fails, or something is wrong with the configuration, the old one
goes on and nothing has changed. Also a new program that fails after it has taken
over gives the process back to the old one, until it has begun to serve.

Upgrade waits for the outcome and prints it. It exits with 0 when the new program
serves, and with 1 and the reason when the old one goes on. With --check it only
tries, and says what an upgrade would do.`,
		example: `  preforkd upgrade
  preforkd upgrade --check --binary ./preforkd-new
  preforkd upgrade --binary ./preforkd-new --config /etc/preforkd/new.toml`,
		arguments: argCount(0, 0, "no arguments"),
		timeout:   upgradeTimeout,
		run: func(ctx context.Context, cmd *cobra.Command, client *control.Client, _ []string) error {
			absolute := request
			for _, flag := range []struct {
				name string
				path *string
			}{{"binary", &absolute.Binary}, {"config", &absolute.Config}} {
				if !cmd.Flags().Changed(flag.name) {
					continue
				}
				if *flag.path == "" {
					return fmt.Errorf(`--%s "": the path is empty`, flag.name)
				}
				path, err := filepath.Abs(*flag.path) // the master has another working directory
				if err != nil {
					return failure(fmt.Errorf("--%s %s: %w", flag.name, *flag.path, err))
				}
				*flag.path = path
			}
			u, err := client.Upgrade(ctx, absolute)
			switch {
			case errors.Is(err, control.ErrNoAnswer):
				return failure(fmt.Errorf("%w. If its process has died, the service manager starts another one: see preforkd status and the log", err))
			case printConfigErrors(err):
				return failure(errors.New("not upgraded: the old program goes on, and nothing has changed"))
			case err != nil:
				return masterError(err)
			case asJSON:
				return printJSON(cmd.OutOrStdout(), u)
			}
			printUpgraded(cmd.OutOrStdout(), &u)
			return nil
		},
	}.command()
	cmd.Flags().StringVar(&request.Binary, "binary", "", "upgrade to the program at `PATH` (default the path that the master was started from)")
	cmd.Flags().StringVar(&request.Config, "config", "", "have the new program read `FILE` from then on (default the file that the master has)")
	cmd.Flags().BoolVar(&request.Check, "check", false, "only try, and say what an upgrade would do")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the outcome as JSON")
	return cmd
}

// printUpgraded prints the outcome of an upgrade for people, or of a try.
func printUpgraded(w io.Writer, u *control.Upgraded) {
	from, to := human.Printable(u.From), human.Printable(u.To)
	if u.Check {
		fmt.Fprintf(w, "an upgrade from %s to %s would succeed; workers to go over: %d\n", from, to, u.Workers)
	} else {
		fmt.Fprintf(w, "upgraded from %s to %s in %s, of which nothing was accepted for %s\n", from, to,
			statusview.Seconds(u.Duration), statusview.Seconds(u.Pause))
		fmt.Fprintf(w, "generation %d; workers that went over: %d\n", u.Generation, u.Workers)
	}
	for _, what := range u.Dropped {
		fmt.Fprintf(w, "%-8s %s\n", "dropped", human.Printable(what))
	}
	if u.Reloaded != nil {
		printChanges(w, u.Reloaded)
	}
}
