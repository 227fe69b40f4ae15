package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/mattn/go-shellwords"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.uber.org/zap/zapcore"

	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
)

// configFlags holds the flags of serve and check: a file, or the keys of one service as
// flags of the same names. Package config defines the keys. Here the values are texts,
// so a flag and a line of a file go through the same checks and get the same messages.
type configFlags struct {
	file   string
	text   string              // of the file, "" if it is to be read
	keys   map[string][]string // the given values, by key
	master map[string]bool     // the keys of the master
	once   bool
	wrap   string
	// socketsPassed says that a service manager passes sockets.
	socketsPassed bool
}

func (f *configFlags) register(set *pflag.FlagSet) {
	f.registerKeys(set)
	set.BoolVar(&f.once, "once", false, "serve one connection, then exit with its worker's code")
	set.StringVar(&f.wrap, "wrap", "", "start every worker under `COMMAND`, for instance 'strace -f -o /tmp/w'")
}

// registerKeys is register without the flags that are about connections.
func (f *configFlags) registerKeys(set *pflag.FlagSet) {
	f.keys, f.master = map[string][]string{}, map[string]bool{}
	set.StringVar(&f.file, "config", "", "read the configuration from `FILE`; flags of the master, --control and those after it, win over what it says, and flags of a service cannot be given then")
	for _, flag := range config.Flags() {
		usage := flag.Usage
		if flag.List {
			usage += "; may be given several times"
		}
		f.master[flag.Name] = flag.Master
		set.Var(&keyFlag{f.keys, flag}, flag.Name, usage)
		registered := set.Lookup(flag.Name)
		registered.DefValue = flag.Default
		if flag.Bool {
			registered.NoOptDefVal = "true"
		}
	}
}

// A keyFlag collects the values of one flag.
type keyFlag struct {
	keys map[string][]string
	config.Flag
}

// Set never fails. All errors are reported together later.
func (k *keyFlag) Set(text string) error {
	k.keys[k.Name] = append(k.keys[k.Name], text)
	return nil
}

func (k *keyFlag) Type() string   { return k.Value }
func (k *keyFlag) String() string { return strings.Join(k.keys[k.Name], " ") }

// config returns a validated configuration from the flags and arguments. dash is the
// number of arguments before "--", or -1 without "--".
func (f *configFlags) config(args []string, dash int) (config.Config, error) {
	run := config.Run{Once: f.once, Activated: f.socketsPassed}
	if f.wrap != "" {
		// The parser stops without an error where a shell would begin another command.
		// Position then says where.
		parser := shellwords.NewParser()
		words, err := parser.Parse(f.wrap)
		if err != nil || len(words) == 0 || parser.Position >= 0 {
			return config.Config{}, fmt.Errorf("wrap %q: not a command line in the shell's words", f.wrap)
		}
		run.Wrap = words
	}
	if f.file != "" {
		return f.fromFile(args, run)
	}
	return f.fromArguments(args, dash, run)
}

func (f *configFlags) fromFile(args []string, run config.Run) (config.Config, error) {
	var conflicting []string
	for key := range f.keys {
		if !f.master[key] {
			conflicting = append(conflicting, "--"+key)
		}
	}
	if slices.Sort(conflicting); len(conflicting) > 0 {
		return config.Config{}, fmt.Errorf("%s: services are configured in the file; beside --config only flags of the master can be given", strings.Join(conflicting, ", "))
	}
	if len(args) > 0 {
		return config.Config{}, fmt.Errorf("%q: handlers and programs stand in the configuration file", args[0])
	}
	run.Flags = f.keys
	if f.text != "" {
		return config.Parse(f.file, []byte(f.text), run)
	}
	return config.Load(f.file, run)
}

func (f *configFlags) fromArguments(args []string, dash int, run config.Run) (config.Config, error) {
	var handlers, program []string
	if dash < 0 {
		handlers = args
	} else {
		handlers, program = args[:dash], args[dash:]
	}
	handler := ""
	switch {
	case dash >= 0 && len(program) == 0:
		return config.Config{}, fmt.Errorf("the program is missing after --")
	case len(handlers) > 0 && len(program) > 0:
		return config.Config{}, fmt.Errorf("handler %q and a program: only one of them can serve; arguments of the program stand after --", handlers[0])
	case len(handlers) > 1:
		return config.Config{}, fmt.Errorf("%d handlers, at most one can serve; a program and its arguments stand after --", len(handlers))
	case len(handlers) == 1:
		if handler = handlers[0]; handler == "" {
			return config.Config{}, fmt.Errorf(`handler "": the name is empty`)
		}
	}
	return config.FromFlags(f.keys, handler, program, run)
}

// logFlags holds the flags of the log.
type logFlags struct {
	format string
	level  string
	debug  bool
}

func (f *logFlags) register(set *pflag.FlagSet) {
	set.StringVar(&f.format, "log-format", string(logging.FormatAuto), "write the log as `FORMAT`: auto (console on a terminal, journal under systemd, else json), console, json or journal")
	set.StringVar(&f.level, "log-level", zapcore.InfoLevel.String(), "log from `LEVEL` up: debug, info, warn or error")
	set.BoolVar(&f.debug, "debug", false, "log from level debug up, for people unless --log-format says otherwise")
}

func (f *logFlags) options() (logging.Options, error) {
	format, err := logging.ParseFormat(f.format)
	if err != nil {
		return logging.Options{}, err
	}
	level, err := logging.ParseLevel(f.level)
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

func newCheck() *cobra.Command {
	var flags configFlags
	var boxOf string
	var log logFlags
	cmd := &cobra.Command{
		Use:   "check --config FILE",
		Short: "Validate a configuration and print all of it, defaults included",
		Long: `Check does with a configuration what serve would do before it binds: it reads
it, looks for the programs, directories and accounts that it names, and says all
that is wrong with it, one line for each mistake, as FILE:LINE:COLUMN. It then
exits with 2. Otherwise it prints the whole configuration, with every default,
as a file that means the same, and at its end in a comment for each service what
stays open to a connection that has taken over its program, and which preset of a
box would close it. Instead of a file it takes the flags of serve, and
beside it those of the master, which win over it.

With --box SERVICE check makes and tries the box of one service instead, with the
rights that it is run with, and prints every key of it: the value, the mechanism
that carries it out, where the value comes from (a preset, a key, or missing where
this machine cannot give it) and what stays open, and a score in the end. It exits
with 1 if something is missing that box.optional does not list.

Check asks no name server. Of host names it knows those in /etc/hosts.`,
		Example: `  preforkd check --config /etc/preforkd/preforkd.toml
  preforkd check --listen :7 --max-connections-per-source 5 echo
  preforkd check --config /etc/preforkd/preforkd.toml --box git
  preforkd check --box cat --box-preset strict -- /bin/cat`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := flags.config(args, cmd.ArgsLenAtDash())
			if err != nil {
				return err
			}
			if _, err := log.options(); err != nil {
				return err
			}
			if err := cfg.CheckResolved(func(_, _ int, a config.Address) []config.Address { return listen.ResolveLocally(a) }); err != nil {
				return err
			}
			if cmd.Flags().Changed("box") {
				return checkBox(cmd.OutOrStdout(), &cfg, boxOf)
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), cfg.TOML(), exposures(&cfg))
			return err
		},
	}
	cmd.Flags().SortFlags = false
	flags.register(cmd.Flags())
	cmd.Flags().BoolVar(&flags.socketsPassed, "activated", false, "suppose that sockets are passed by a service manager: services of a file may lack listen")
	cmd.Flags().StringVar(&boxOf, "box", "", "make and try the box of `SERVICE`, and print it key by key")
	log.register(cmd.Flags())
	return cmd
}

// exposures returns a comment for each service about what its box leaves open.
func exposures(cfg *config.Config) string {
	var b strings.Builder
	for i := range cfg.Services {
		s := &cfg.Services[i]
		fmt.Fprintf(&b, "\n# service.%s: %s\n", s.Name, s.Exposure())
	}
	return b.String()
}
