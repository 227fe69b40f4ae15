package main

import (
	"cmp"
	"fmt"
	"os"
	"time"

	"github.com/mattn/go-shellwords"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.uber.org/zap/zapcore"

	"github.com/preforkd/preforkd/master"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
)

// serveFlags holds the flags of serve as they were written. Every flag has the
// name of the configuration key that it sets.
type serveFlags struct {
	listen         []string
	handoff        string
	quitWord       string
	maxConnections int
	spares         int
	minSpares      int
	maxSpares      int
	perWorker      int
	idleTimeout    time.Duration
	maxLifetime    time.Duration
	drainTimeout   time.Duration
	killDelay      time.Duration
	workerBinary   string
	logFormat      string
	logLevel       string
	debug          bool
	once           bool
	wrap           string
}

func newServe() *cobra.Command {
	var flags serveFlags
	cmd := &cobra.Command{
		Use:   "serve [flags] [HANDLER | -- PROGRAM [ARG]...]",
		Short: "Accept connections and give each one to a process of its own",
		Long: `Serve accepts connections and gives each one to a process of its own, in the
foreground, until a signal ends it.

HANDLER is a built-in handler; the default is echo. PROGRAM is any program: it
finds the connection on its standard input and output, as under inetd.

ADDR is host:port, :port (every address of both families), [v6]:port,
unix:/path or unix:@name (abstract). Port 0 lets the kernel choose; the log
says which port it is.`,
		Example: `  preforkd serve
  preforkd serve --listen :7 --quit-word exit echo
  preforkd serve --listen :9418 -- git daemon --inetd --export-all /srv/git
  preforkd serve --once --debug --wrap 'strace -f -o /tmp/w' -- /bin/cat`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.sparesFrom(cmd.Flags()); err != nil {
				return err
			}
			cfg, err := flags.config(args, cmd.ArgsLenAtDash())
			if err != nil {
				return err
			}
			options, err := flags.logging()
			if err != nil {
				return err
			}
			return serve(cfg, options)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringArrayVar(&flags.listen, "listen", nil, "listen at `ADDR`; may be given several times (default "+config.DefaultListen+")")
	f.StringVar(&flags.handoff, "handoff", "", "how a program gets its connection: `HANDOFF` is stdio (fds 0 and 1), worker (fd 3, control channel on fd 4) or systemd (fd 3 and LISTEN_FDS) (default stdio)")
	f.StringVar(&flags.quitWord, "quit-word", "", "let echo end a connection at a line that is exactly `WORD`")
	f.IntVar(&flags.maxConnections, "max-connections", config.DefaultMaxConnections, "serve at most `N` connections at once; more wait in the kernel's queue")
	f.IntVar(&flags.spares, "spares", 0, "keep `N` workers ready ahead of their connections")
	f.IntVar(&flags.minSpares, "min-spares", 0, "let the number of spares follow the demand, from `N` up")
	f.IntVar(&flags.maxSpares, "max-spares", 0, "let the number of spares follow the demand, up to `N`")
	f.IntVar(&flags.perWorker, "connections-per-worker", config.DefaultConnectionsPerWorker, "let a worker serve `N` connections, one after the other: faster, and less isolated")
	f.DurationVar(&flags.idleTimeout, "idle-timeout", 0, "end a connection after that long without a byte (0: never)")
	f.DurationVar(&flags.maxLifetime, "max-lifetime", 0, "end a connection after that long (0: never)")
	f.DurationVar(&flags.drainTimeout, "drain-timeout", config.DefaultDrainTimeout, "how long live connections may go on after SIGTERM")
	f.DurationVar(&flags.killDelay, "kill-delay", config.DefaultKillDelay, "how long workers may take to end after SIGTERM before SIGKILL")
	f.StringVar(&flags.workerBinary, "worker-binary", "", "run built-in handlers in the program at `PATH` (default preforkd-worker beside preforkd, then in ../lib/preforkd)")
	f.StringVar(&flags.logFormat, "log-format", string(logging.FormatAuto), "write the log as `FORMAT`: auto (console on a terminal, else json), console or json")
	f.StringVar(&flags.logLevel, "log-level", zapcore.InfoLevel.String(), "log from `LEVEL` up: debug, info, warn or error")
	f.BoolVar(&flags.debug, "debug", false, "log from level debug up, for people unless --log-format says otherwise")
	f.BoolVar(&flags.once, "once", false, "serve one connection, then exit with its worker's code")
	f.StringVar(&flags.wrap, "wrap", "", "start every worker under `COMMAND`, for instance 'strace -f -o /tmp/w'")
	return cmd
}

// sparesFrom settles the three flags on spares: --spares sets both ends, and
// --min-spares alone is also the upper one.
func (f *serveFlags) sparesFrom(set *pflag.FlagSet) error {
	least, most := set.Changed("min-spares"), set.Changed("max-spares")
	switch {
	case set.Changed("spares") && (least || most):
		return fmt.Errorf("spares %d: stands for min-spares and max-spares, which cannot be given as well", f.spares)
	case set.Changed("spares"):
		f.minSpares, f.maxSpares = f.spares, f.spares
	case least && !most:
		f.maxSpares = f.minSpares
	}
	return nil
}

// config makes a validated configuration of the flags and arguments. dash is
// how many arguments stood before "--", or -1 when there was none.
func (f *serveFlags) config(args []string, dash int) (config.Config, error) {
	service := config.Service{
		Handoff:        config.Handoff(f.handoff),
		MaxConnections: f.maxConnections,
		QuitWord:       f.quitWord,

		MinSpares:            f.minSpares,
		MaxSpares:            f.maxSpares,
		ConnectionsPerWorker: f.perWorker,
		IdleTimeout:          f.idleTimeout,
		MaxLifetime:          f.maxLifetime,
	}
	for _, text := range f.listen {
		address, err := config.ParseAddress(text)
		if err != nil {
			return config.Config{}, fmt.Errorf("listen: %w", err)
		}
		service.Listen = append(service.Listen, address)
	}
	var handlers []string
	if dash < 0 {
		handlers = args
	} else {
		handlers, service.Program = args[:dash], args[dash:]
	}
	switch {
	case dash >= 0 && len(service.Program) == 0:
		return config.Config{}, fmt.Errorf("the program is missing after --")
	case len(handlers) > 0 && len(service.Program) > 0:
		return config.Config{}, fmt.Errorf("handler %q and a program: only one of them can serve; arguments of the program stand after --", handlers[0])
	case len(handlers) > 1:
		return config.Config{}, fmt.Errorf("%d handlers, at most one can serve; a program and its arguments stand after --", len(handlers))
	case len(handlers) == 1:
		if handlers[0] == "" {
			return config.Config{}, fmt.Errorf(`handler "": the name is empty`)
		}
		service.Handler = handlers[0]
	}
	cfg := config.Config{
		WorkerBinary: f.workerBinary,
		DrainTimeout: f.drainTimeout,
		KillDelay:    f.killDelay,
		Once:         f.once,
		Services:     []config.Service{service},
	}
	if f.wrap != "" {
		// A parser stops without an error where a shell would begin another
		// command, and says where.
		parser := shellwords.NewParser()
		words, err := parser.Parse(f.wrap)
		if err != nil || len(words) == 0 || parser.Position >= 0 {
			return config.Config{}, fmt.Errorf("wrap %q: not a command line in the shell's words", f.wrap)
		}
		cfg.Wrap = words
	}
	cfg.Complete()
	return cfg, cfg.Validate()
}

func (f *serveFlags) logging() (logging.Options, error) {
	format, err := logging.ParseFormat(f.logFormat)
	if err != nil {
		return logging.Options{}, err
	}
	level, err := logging.ParseLevel(f.logLevel)
	if err != nil {
		return logging.Options{}, err
	}
	if f.debug {
		level = zapcore.DebugLevel
		if format == logging.FormatAuto {
			format = logging.FormatConsole
		}
	}
	return logging.Options{Format: format, Level: level, Output: os.Stderr}, nil
}

// logFlushTimeout is how long the end of the program waits for somebody to
// read the last lines of the log.
const logFlushTimeout = 2 * time.Second

// serve runs a master until it ends. Errors before it serves are the command's;
// those of its work are in the log already.
func serve(cfg config.Config, options logging.Options) error {
	if err := prepare(); err != nil {
		return failure(err)
	}
	logger, err := logging.New(options)
	if err != nil {
		return failure(fmt.Errorf("open the log: %w", err))
	}
	defer logger.Close(logFlushTimeout)
	m, err := master.New(cfg, logger.Logger)
	if err != nil {
		return failure(err)
	}
	result, err := m.Run()
	if err != nil || result.ExitCode != exitOK {
		return &exitError{code: cmp.Or(result.ExitCode, exitFailure)}
	}
	return nil
}

// prepare undoes what this process may have inherited and would hand on to
// every worker: descriptors, ignored signals, a signal mask.
func prepare() error {
	if err := process.SealDescriptors(); err != nil {
		return err
	}
	return process.InheritDefaults()
}
