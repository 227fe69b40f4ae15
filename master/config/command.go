package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/executable"
)

// A Command is a program with its arguments, ready to be started.
type Command struct {
	Path string   // absolute
	Args []string // the whole argument vector; the first is the name of the program

	// Program is the absolute path of what the worker binary executes once it
	// has its connection. It is empty where Path is the handler itself.
	Program string
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

// Commands returns the commands of each service, in the order of Services. It
// looks for every program in the file system. It returns an error for programs
// that cannot be started, so that this does not happen at the first connection.
func (c *Config) Commands() ([]Commands, error) {
	commands := make([]Commands, len(c.Services))
	var errs []error
	for i := range c.Services {
		var err error
		if commands[i], err = c.commands(&c.Services[i], c.Services[i].Program); err != nil {
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
	return c.findWorker()
}

// ServesHandler reports whether preforkd's own worker binary serves the connections of a
// service by itself: no tool is put in front of it, and worker-binary names no program of
// another name, which is somebody's own.
func (c *Config) ServesHandler(s *Service) bool {
	return s.Handler != "" && len(c.Wrap) == 0 && (c.WorkerBinary == "" || filepath.Base(c.WorkerBinary) == workerName)
}

// RuleCommand returns the command for a connection under a rule that has a
// program of its own.
func (c *Config) RuleCommand(s *Service, r *Rule) (Command, error) {
	both, err := c.commands(s, r.Program)
	return both.Worker, err
}

// commands returns the commands of a service's handler, or of a program with
// the service's handoff.
func (c *Config) commands(s *Service, argv []string) (Commands, error) {
	var program, worker string
	var err error
	if s.Handler == "" {
		if program, err = findProgram(argv[0]); err != nil {
			return Commands{}, fmt.Errorf("program %w", err)
		}
	}
	if s.Handler != "" || s.Handoff == HandoffSystemd || s.Handoff == HandoffStdio && s.MaxSpares > 0 {
		if worker, err = c.findWorker(); err != nil {
			return Commands{}, err
		}
	} else if s.Handoff == HandoffStdio {
		worker, _ = c.findWorker() // without a worker binary there can be no spares, and the service wants none
	}
	// throughWorker makes the worker binary take the connection, and then
	// execute the program. The program gets the name from the configuration as
	// its first argument, as from a shell.
	throughWorker := func(mode string) Command {
		return Command{worker, append([]string{worker, mode, program}, argv...), program}
	}
	var both Commands
	switch {
	case s.Handler != "":
		both.Worker = Command{Path: worker, Args: []string{worker, s.Handler}}
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
	if both.Worker, err = c.wrap(both.Worker); err == nil && both.Spare.Path != "" {
		both.Spare, err = c.wrap(both.Spare)
	}
	return both, err
}

// wrap puts the command of Config.Wrap in front of a command.
func (c *Config) wrap(command Command) (Command, error) {
	if len(c.Wrap) == 0 {
		return command, nil
	}
	path, err := findProgram(c.Wrap[0])
	if err != nil {
		return Command{}, fmt.Errorf("wrap %w", err)
	}
	args := append(slices.Clone(c.Wrap), command.Path)
	return Command{Path: path, Args: append(args, command.Args[1:]...), Program: command.Program}, nil
}

// findWorker returns the absolute path of the worker binary.
func (c *Config) findWorker() (string, error) {
	if c.WorkerBinary != "" {
		path, err := filepath.Abs(c.WorkerBinary)
		if err == nil {
			_, err = findProgram(path)
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
		if _, err = findProgram(path); err == nil {
			return path, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("worker binary %w", err)
		}
	}
	return "", fmt.Errorf("worker binary: found neither %s; --worker-binary names another place",
		strings.Join(candidates, " nor "))
}

// findProgram returns the absolute path of an executable. It looks in PATH for
// a name without a slash, as execvp(3) does. Errors start with the name.
func findProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err == nil {
		// The kernel executes nothing else (execve(2)).
		if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
			return "", fmt.Errorf("%q: is not a regular file", name)
		}
		if err := executable.Check(path); err != nil {
			return "", fmt.Errorf("%q: %w", name, err)
		}
		return path, nil
	}
	switch {
	case name == "":
		return "", errors.New(`"": the name is empty`)
	case errors.Is(err, exec.ErrNotFound):
		return "", fmt.Errorf("%q: %w in PATH", name, fs.ErrNotExist)
	case errors.Is(err, exec.ErrDot):
		return "", fmt.Errorf("%q: found in the working directory only; write ./%s", name, name)
	}
	// LookPath has put the name around the reason.
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		err = errno
	}
	if errors.Is(err, fs.ErrPermission) {
		err = errors.New("not an executable file, or not one that this user may execute")
	}
	return "", fmt.Errorf("%q: %w", name, err)
}
