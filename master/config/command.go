package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// A Command is the program that is started for each connection of a service.
type Command struct {
	Path string   // absolute
	Args []string // the whole argument vector, the program's name first
}

// workerName is the file name of the program for built-in handlers.
const workerName = "preforkd-worker"

// Commands returns the command of each service, in the order of Services, with
// every program found in the file system. It says what is wrong with those
// that cannot be started, so that this does not come out at the first
// connection.
func (c *Config) Commands() ([]Command, error) {
	commands := make([]Command, len(c.Services))
	var errs []error
	for i := range c.Services {
		var err error
		if commands[i], err = c.command(&c.Services[i]); err != nil {
			errs = append(errs, err)
		}
	}
	return commands, errors.Join(errs...)
}

func (c *Config) command(s *Service) (Command, error) {
	var command Command
	if s.Handler != "" {
		path, err := c.findWorker()
		if err != nil {
			return Command{}, err
		}
		command = Command{Path: path, Args: []string{path, s.Handler}}
	} else {
		path, err := findProgram(s.Program[0])
		if err != nil {
			return Command{}, fmt.Errorf("program %w", err)
		}
		// The program sees the name that it was asked for by, as from a shell.
		command = Command{Path: path, Args: s.Program}
	}
	if len(c.Wrap) == 0 {
		return command, nil
	}
	path, err := findProgram(c.Wrap[0])
	if err != nil {
		return Command{}, fmt.Errorf("wrap %w", err)
	}
	args := append([]string{}, c.Wrap...)
	args = append(args, command.Path)
	return Command{Path: path, Args: append(args, command.Args[1:]...)}, nil
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

// findProgram returns the absolute path of an executable. A name without a
// slash is looked for in PATH, as execvp(3) does. Errors start with the name.
func findProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	switch {
	case err == nil:
		return path, nil
	case name == "":
		return "", errors.New(`"": the name is empty`)
	case errors.Is(err, exec.ErrNotFound):
		return "", fmt.Errorf("%q: %w in PATH", name, fs.ErrNotExist)
	case errors.Is(err, exec.ErrDot):
		return "", fmt.Errorf("%q: found in the working directory only; write ./%s", name, name)
	}
	// LookPath has wrapped the reason in the name already.
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		err = errno
	}
	if errors.Is(err, fs.ErrPermission) {
		err = errors.New("not an executable file, or not one that this user may execute")
	}
	return "", fmt.Errorf("%q: %w", name, err)
}
