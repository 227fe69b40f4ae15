package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/logging"
)

func newDrain() *cobra.Command {
	return controlCommand{
		use:   "drain [SERVICE]",
		short: "Stop accepting, and let live connections finish",
		long: `Drain closes the listeners of a service and retires its spares; its connections
go on to their own end. A reload brings the service back.

Without a service it stops the master, as SIGTERM does: connections have
drain-timeout to finish. It does not wait for that.`,
		example:   "  preforkd drain git\n  preforkd drain",
		arguments: argCount(0, 1, "at most one service"),
		run: func(ctx context.Context, cmd *cobra.Command, client *control.Client, args []string) error {
			service, who := "", "preforkd"
			if len(args) > 0 {
				if service = args[0]; service == "" {
					return errors.New(`service "": the name is empty`)
				}
				who = "service " + service
			}
			d, err := client.Drain(ctx, service)
			if err != nil {
				return masterError(err)
			}
			within := ""
			if d.Timeout > 0 && d.Live > 0 {
				within = fmt.Sprintf(", which have %v", time.Duration(d.Timeout*float64(time.Second)))
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, %d live connections%s\n", who, d.State, d.Live, within)
			return err
		},
	}.command()
}

func newReload() *cobra.Command {
	return controlCommand{
		use:   "reload",
		short: "Read the configuration again, and say what that has changed",
		long: `Reload has the master read its configuration file again, as SIGHUP does, waits
for that, and prints what has changed. When something is wrong with the file
nothing changes; reload says what it is, and exits with 1.`,
		example:   "  preforkd reload",
		arguments: argCount(0, 0, "no arguments"),
		run: func(ctx context.Context, cmd *cobra.Command, client *control.Client, _ []string) error {
			r, err := client.Reload(ctx)
			if e, ok := errors.AsType[*control.Error](err); ok && len(e.Mistakes) > 0 {
				for _, mistake := range e.Mistakes {
					fmt.Fprintln(os.Stderr, errorLine(errors.New(mistake)))
				}
				return failure(errors.New("not reloaded: nothing has changed"))
			}
			if err != nil {
				return masterError(err)
			}
			w := cmd.OutOrStdout()
			changes := 0
			for _, c := range []struct {
				what  string
				names []string
			}{
				{"added", r.Added}, {"changed", r.Changed}, {"removed", r.Removed},
				{"opened", r.Opened}, {"closed", r.Closed},
			} {
				if len(c.names) > 0 {
					fmt.Fprintf(w, "%-8s %s\n", c.what, joinPrintable(c.names))
				}
				changes += len(c.names)
			}
			if changes == 0 {
				fmt.Fprintln(w, "reloaded; no service has changed")
			}
			return nil
		},
	}.command()
}

func newKill() *cobra.Command {
	var signal string
	cmd := controlCommand{
		use:   "kill CONN",
		short: "End a connection by a signal to its worker",
		long: `Kill signals the worker that serves a connection, and all that it has started in
its process group. CONN is the connection's id, as the log and status show it.`,
		example:   "  preforkd kill mwpr0gd0-1\n  preforkd kill mwpr0gd0-1 --signal KILL",
		arguments: argCount(1, 1, "one connection"),
		run: func(ctx context.Context, cmd *cobra.Command, client *control.Client, args []string) error {
			if _, err := control.ParseSignal(signal); err != nil {
				return err
			}
			k, err := client.Kill(ctx, args[0], signal)
			if err != nil {
				return masterError(err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "sent %s to worker %d of connection %s, service %s\n", k.Signal, k.PID, k.Connection, k.Service)
			return err
		},
	}.command()
	cmd.Flags().StringVar(&signal, "signal", "TERM", "send `SIGNAL`, a name or a number")
	return cmd
}

func newLogLevel() *cobra.Command {
	return controlCommand{
		use:   "log-level [LEVEL]",
		short: "Show or change the level of the running master's log",
		long: `Log-level changes from where up events are written to the log: debug, info, warn
or error. It holds until the next change or the master's end. Without LEVEL it
shows the present one.`,
		example:   "  preforkd log-level debug",
		arguments: argCount(0, 1, "at most one level"),
		run: func(ctx context.Context, cmd *cobra.Command, client *control.Client, args []string) error {
			if len(args) == 0 {
				l, err := client.LogLevel(ctx)
				if err != nil {
					return masterError(err)
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), l.Level)
				return err
			}
			if _, err := logging.ParseLevel(args[0]); err != nil {
				return err
			}
			l, err := client.SetLogLevel(ctx, args[0])
			if err != nil {
				return masterError(err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s, was %s\n", l.Level, l.Before)
			return err
		},
	}.command()
}
