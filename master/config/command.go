package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/box/mounts"
)

// A Command is a program with its arguments, ready to be started.
type Command struct {
	Path string   // absolute
	Args []string // the whole argument vector; the first is the name of the program

	// Program is the absolute path of what the worker binary executes once it
	// has its connection. It is empty where Path is the handler itself.
	Program string

	// Worker says that Path is the worker binary. It is not where a tool is put in front
	// of it, which finds the binary by the path that is an argument then.
	Worker bool
}

// Commands are the commands of a service: Worker starts for a connection, and
// Spare starts ahead of one. They differ for programs that do not know spares.
// There the worker binary waits for the connection, and then executes the
// program. Spare is empty if there is no worker binary and the service needs
// none.
type Commands struct{ Worker, Spare Command }

// workerName is the file name of the worker binary, which has the built-in
// handlers.
const workerName = "preforkd-worker"

// Commands returns the commands of each service that is not kept, in the order of
// Services. It looks for every program in the file system. It returns an error for
// programs that cannot be started, so that this does not happen at the first
// connection.
func (c *Config) Commands() ([]Commands, error) {
	commands := make([]Commands, len(c.Services))
	var errs []error
	for i := range c.Services {
		s := &c.Services[i]
		if s.kept {
			continue
		}
		err := s.find(c.known, func(f *finder) (err error) {
			commands[i], err = c.commands(f, s, s.Program)
			return err
		})
		if err != nil {
			errs = append(errs, err)
		}
	}
	return commands, errors.Join(errs...)
}

// HandlerPath returns the path of the worker binary for a service with ServesHandler, and
// "" for others.
func (c *Config) HandlerPath(s *Service) (string, error) {
	if !c.ServesHandler(s) {
		return "", nil
	}
	return c.findWorker(c.onMachine())
}

// ServesHandler reports whether preforkd's own worker binary serves the connections of a
// service by itself: no tool is put in front of it.
func (c *Config) ServesHandler(s *Service) bool {
	return s.Handler != "" && len(c.Wrap) == 0 && c.hasOwnWorkerBinary()
}

// RuleCommand returns the command for a connection under a rule that has a
// program of its own.
func (c *Config) RuleCommand(s *Service, r *Rule) (command Command, err error) {
	err = s.find(c.known, func(f *finder) error {
		both, err := c.commands(f, s, r.Program)
		command = both.Worker
		return err
	})
	return command, err
}

// commands returns the commands of a service's handler, or of a program with
// the service's handoff.
func (c *Config) commands(f *finder, s *Service, argv []string) (Commands, error) {
	var program, worker string
	var err error
	if s.Handler == "" {
		if program, err = f.program(argv[0]); err != nil {
			return Commands{}, fmt.Errorf("program %w", err)
		}
	}
	if c.ServesHandler(s) {
		f = c.onMachine() // it is passed into the box
	}
	if s.Handler != "" || s.Handoff == HandoffSystemd || s.Handoff == HandoffStdio && s.MaxSpares > 0 {
		if worker, err = c.findWorker(f); err != nil {
			return Commands{}, err
		}
	} else if s.Handoff == HandoffStdio {
		worker, _ = c.findWorker(f) // without a worker binary there can be no spares, and the service wants none
	}
	// throughWorker makes the worker binary take the connection, and then
	// execute the program. The program gets the name from the configuration as
	// its first argument, as from a shell.
	throughWorker := func(mode string) Command {
		return Command{Path: worker, Args: append([]string{worker, mode, program}, argv...), Program: program, Worker: true}
	}
	var both Commands
	switch {
	case s.Handler != "":
		both.Worker = Command{Path: worker, Args: []string{worker, s.Handler}, Worker: true}
		both.Spare = both.Worker
	case s.Handoff == HandoffSystemd:
		both.Worker = throughWorker(ipc.ExecSystemd)
		both.Spare = both.Worker
	case s.Handoff == HandoffStdio:
		both.Worker = Command{Path: program, Args: argv}
		if worker != "" {
			both.Spare = throughWorker(ipc.ExecStdio)
		}
	default:
		both.Worker = Command{Path: program, Args: argv}
		both.Spare = both.Worker
	}
	if both.Worker, err = c.wrap(f, both.Worker); err == nil && both.Spare.Path != "" {
		both.Spare, err = c.wrap(f, both.Spare)
	}
	return both, err
}

// wrap puts the command of Config.Wrap in front of a command.
func (c *Config) wrap(f *finder, command Command) (Command, error) {
	if len(c.Wrap) == 0 {
		return command, nil
	}
	path, err := f.program(c.Wrap[0])
	if err != nil {
		return Command{}, fmt.Errorf("wrap %w", err)
	}
	args := append(slices.Clone(c.Wrap), command.Path)
	return Command{Path: path, Args: append(args, command.Args[1:]...), Program: command.Program}, nil
}

// findWorker returns the absolute path of the worker binary. A box must have it at the
// same place as the machine.
func (c *Config) findWorker(f *finder) (string, error) {
	if c.WorkerBinary != "" {
		path, err := filepath.Abs(c.WorkerBinary)
		if err == nil {
			_, err = f.program(path)
		}
		if err != nil {
			return "", fmt.Errorf("worker-binary %w", err)
		}
		return path, nil
	}
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the worker binary: %w", err)
	}
	dir := filepath.Dir(self)
	candidates := []string{
		filepath.Join(dir, workerName),
		filepath.Join(dir, "..", "lib", "preforkd", workerName),
	}
	for _, path := range candidates {
		if _, err = f.program(path); err == nil {
			return path, nil
		}
		if _, covered := errors.AsType[mounts.CoveredError](err); covered || !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("worker binary %w", err)
		}
	}
	return "", fmt.Errorf("worker binary: found neither %s%s; --worker-binary names another place",
		strings.Join(candidates, " nor "), f.where())
}
