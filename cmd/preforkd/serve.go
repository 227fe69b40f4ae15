package main

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/preforkd/preforkd/master"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/osthread"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/signals"
	"github.com/preforkd/preforkd/master/systemd"
	"github.com/preforkd/preforkd/master/upgrade"
)

func newServe() *cobra.Command {
	var flags configFlags
	var log logFlags
	var rehearse bool
	cmd := &cobra.Command{
		Use:   "serve [flags] [HANDLER | -- PROGRAM [ARG]...]",
		Short: "Accept connections and give each one to a process of its own",
		Long: `Serve accepts connections and gives each one to a process of its own, in the
foreground, until a signal ends it.

One service can be given by flags and arguments, any number of them by a
configuration file; every flag has the name of the key that it stands for.
Beside a file, flags of the master win over what its [master] says, also when it
is read again, and the log says so. Flags of a service cannot be given then.

HANDLER is a built-in handler; the default is echo. PROGRAM is any program: it
finds the connection on its standard input and output, as under inetd.

ADDR is host:port, :port (every address of both families), [v6]:port,
unix:/path or unix:@name (abstract). A port is a number or the name of a TCP
service in /etc/services. Port 0 lets the kernel choose; the log says which port
it is.`,
		Example: `  preforkd serve
  preforkd serve --listen :7 --quit-word exit echo
  preforkd serve --listen :9418 -- git daemon --inetd --export-all /srv/git
  preforkd serve --config /etc/preforkd/preforkd.toml
  preforkd serve --config preforkd.toml --control /tmp/c.sock --debug
  preforkd serve --once --debug --wrap 'strace -f -o /tmp/w' -- /bin/cat`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			load := func() (config.Config, error) { return flags.config(args, cmd.ArgsLenAtDash()) }
			if rehearse {
				return rehearseUpgrade(&flags, load, &log)
			}
			if upgrade.Executed() {
				return takeOver(&flags, load, &log)
			}
			// This may execute the program again. Where it cannot, the master only takes
			// more CPU time.
			_ = osthread.ExecRelaxed()
			// From here on a signal is acted on, if need be later, and does not
			// end the process by itself.
			caught := signals.Catch()
			// This may execute the program again.
			if err := process.ResetSignals(); err != nil {
				return failure(err)
			}
			// This must come before anything else is started or opened.
			sockets, err := systemd.Passed()
			if err != nil {
				return err
			}
			flags.socketsPassed = systemd.Activated(sockets)
			options, err := log.options()
			if err != nil {
				return err
			}
			// A file system may keep that waiting.
			var cfg config.Config
			sig, err := caught.During(func() (err error) {
				cfg, err = load()
				return err
			})
			if sig != 0 {
				return nil // there is nothing yet that could be said or left behind
			}
			if err != nil {
				return err
			}
			return serve(cfg, flags.file, sockets, caught, options)
		},
	}
	cmd.Flags().SortFlags = false
	flags.register(cmd.Flags())
	log.register(cmd.Flags())
	cmd.Flags().BoolVar(&rehearse, upgrade.FlagRehearse, false, "find out whether this program can take over from a master, which starts it for that")
	_ = cmd.Flags().MarkHidden(upgrade.FlagRehearse) // it is there
	return cmd
}

// logFlushTimeout is the maximum time that the exit waits until the last lines of the
// log are read.
const logFlushTimeout = 2 * time.Second

// serve runs a master until it ends. Errors before the master serves belong to the
// command. Later errors are already in the log.
func serve(cfg config.Config, file string, sockets []systemd.Socket, caught *signals.Queue, options logging.Options) error {
	if err := process.SetCloexecAll(); err != nil {
		return failure(err)
	}
	if err := master.ReserveThreads(); err != nil {
		return failure(fmt.Errorf("start: %w", err))
	}
	// Without the right to do so there was ExecRelaxed.
	_ = osthread.RelaxMonitor()
	logger, err := logging.New(options)
	if err != nil {
		return failure(fmt.Errorf("open the log: %w", err))
	}
	defer logger.Close(logFlushTimeout)
	manager, err := systemd.Connect(func(err error) { logger.Warn("service manager", logging.Error(err)) })
	if err != nil {
		return failure(err)
	}
	defer manager.Close()
	m, err := master.New(cfg, file, master.Supervisor{Manager: manager, Sockets: sockets}, caught, logger)
	if err == master.ErrStopped {
		return nil
	}
	if _, isConfigError := errors.AsType[config.ConfigErrors](err); isConfigError {
		return err
	}
	if err != nil {
		return failure(err)
	}
	return end(m.Run())
}

// end returns the error of the command for the end of a master, which has said why.
func end(result master.Result, err error) error {
	if err != nil || result.ExitCode != exitOK {
		return &exitError{code: cmp.Or(result.ExitCode, exitFailure)}
	}
	return nil
}
