package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/human"
	"github.com/preforkd/preforkd/master/logging"
)

func newDrain() *cobra.Command {
	return controlCommand{
		use:   "drain [SERVICE]",
		short: "Stop accepting, and let live connections finish",
		long: `Drain closes the listeners of a service and retires its spares; its connections
go on to their own end. Resume brings the service back, and so does a reload.

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

func newResume() *cobra.Command {
	return controlCommand{
		use:   "resume SERVICE",
		short: "Bring a service back that was drained",
		long: `Resume has a service accept again that was drained: its listeners are opened, and
its spares started, as it is configured. It reads no file, so it also works for a
master that was started without one. Where the kernel chose the port of a
listener it chooses again.

A service that is not drained stays as it is.`,
		example:   "  preforkd drain git\n  preforkd resume git",
		arguments: argCount(1, 1, "one service"),
		run: func(ctx context.Context, cmd *cobra.Command, client *control.Client, args []string) error {
			if args[0] == "" {
				return errors.New(`service "": the name is empty`)
			}
			r, err := client.Resume(ctx, args[0])
			if err != nil {
				return masterError(err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "service %s: %s at %s\n", human.Printable(r.Service), r.State, joinPrintable(r.Listeners))
			return err
		},
	}.command()
}

func newReload() *cobra.Command {
	var pid int
	cmd := controlCommand{
		use:   "reload",
		short: "Read the configuration again, and say what that has changed",
		long: `Reload has the master read its configuration file again, as SIGHUP does, waits
for that, and prints what has changed. When something is wrong with the file
nothing changes; reload says what it is, and exits with 1.

With --pid, as in the unit for systemd, reload is about the master with that
process id. If the control socket is not that master's, because the
configuration names another one or none, the master gets SIGHUP. Then only the
log says what has become of it.`,
		example:   "  preforkd reload",
		arguments: argCount(0, 0, "no arguments"),
		timeout:   reloadTimeout,
		run: func(ctx context.Context, cmd *cobra.Command, client *control.Client, _ []string) error {
			if cmd.Flags().Changed("pid") {
				if pid <= 1 {
					return fmt.Errorf("--pid %d: the process id of a master is needed", pid)
				}
				s, err := client.Status(ctx)
				if errors.Is(err, control.ErrNotRunning) || err == nil && s.Master.PID != pid {
					return signalReload(cmd.OutOrStdout(), pid)
				}
			}
			r, err := client.Reload(ctx)
			if printConfigErrors(err) {
				return failure(errors.New("not reloaded: nothing has changed"))
			}
			if err != nil {
				return masterError(err)
			}
			if w := cmd.OutOrStdout(); !printChanges(w, &r) {
				fmt.Fprintln(w, "reloaded; no service has changed")
			}
			return nil
		},
	}.command()
	cmd.Flags().IntVar(&pid, "pid", 0, "reload the master with this process `ID`, by SIGHUP if it has another control socket or none")
	return cmd
}

// printConfigErrors prints the errors of a configuration file, each as one line on
// stderr, if the master refused a request for them.
func printConfigErrors(err error) bool {
	e, ok := errors.AsType[*control.Error](err)
	if !ok || len(e.ConfigErrors) == 0 {
		return false
	}
	for _, mistake := range e.ConfigErrors {
		fmt.Fprintln(os.Stderr, errorLine(errors.New(mistake)))
	}
	return true
}

// printChanges prints what a new configuration has changed. It returns false if that
// is nothing.
func printChanges(w io.Writer, r *control.Reloaded) bool {
	changed := false
	for _, c := range []struct {
		what  string
		names []string
	}{
		{"added", r.Added}, {"changed", r.Changed}, {"removed", r.Removed},
		{"opened", r.Opened}, {"closed", r.Closed},
	} {
		if len(c.names) > 0 {
			fmt.Fprintf(w, "%-8s %s\n", c.what, joinPrintable(c.names))
			changed = true
		}
	}
	return changed
}

// signalReload has a master reload that cannot be asked.
func signalReload(w io.Writer, pid int) error {
	if err := unix.Kill(pid, unix.SIGHUP); err != nil {
		return failure(fmt.Errorf("send SIGHUP to process %d: %w", pid, err))
	}
	_, err := fmt.Fprintf(w, "sent SIGHUP to process %d; its log says what has become of it\n", pid)
	return err
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
