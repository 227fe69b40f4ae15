package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/box"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/human"
	"github.com/preforkd/preforkd/master/process"
)

// The exit codes of box for a program that was not executed, as shells have them.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
	exitSignal        = 128 // and the number of the signal
)

func newBox() *cobra.Command {
	var flags configFlags
	cmd := &cobra.Command{
		Use:   "box [flags] [SERVICE] -- PROGRAM [ARG]...",
		Short: "Run a program inside the box of a service, from a terminal",
		Long: `Box runs a program inside the box that the connections of a service have, for
trying out what it may do there, and for strace. The program has no connection: it
keeps the standard input, output and error that box has, its environment with the
service's env, and its terminal, whose keys work as always. It has the user, the
umask and the directory of the service; without a directory it starts where it is
run, or in / if the box has mounts of its own.

The box is made for this one program in the way in which a master makes it, with
the rights that box is run with. When the program has ended, whatever it has left
behind in its box is ended.

SERVICE may be left out where the configuration has only one. Without --config the
flags are those of one service, as for serve.`,
		Example: `  preforkd box --config /etc/preforkd/preforkd.toml git -- /bin/sh
  preforkd box --box-preset strict -- ls -l /home
  strace -f -o /tmp/trace preforkd box --config preforkd.toml web -- ./worker`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			dash := cmd.ArgsLenAtDash()
			if dash < 0 || dash == len(args) {
				return errors.New("the program is missing: it stands after --")
			}
			service, program := args[:dash], args[dash:]
			if len(service) > 1 {
				return fmt.Errorf("%d services, at most one has the box; the program and its arguments stand after --", len(service))
			}
			s, err := flags.boxedService(service, program)
			if err != nil {
				return err
			}
			return runInBox(s, program)
		},
	}
	cmd.Flags().SortFlags = false
	flags.registerKeys(cmd.Flags())
	return cmd
}

// boxedService returns the service whose box a program is to run in.
func (f *configFlags) boxedService(name, program []string) (*config.Service, error) {
	f.socketsPassed = true // nothing is bound, so nothing need be said about it
	if f.file == "" {
		if len(name) > 0 {
			return nil, fmt.Errorf("service %q: services stand in a configuration file, which --config names", name[0])
		}
		// The program is that of the service.
		cfg, err := f.config(program, 0)
		if err != nil {
			return nil, err
		}
		return &cfg.Services[0], nil
	}
	cfg, err := f.config(nil, -1)
	if err != nil {
		return nil, err
	}
	return findService(&cfg, strings.Join(name, ""))
}

// runInBox runs a program in the box of a service. The error has the program's exit
// code.
func runInBox(s *config.Service, program []string) error {
	if s.Box.IsZero() {
		return fmt.Errorf("service %s has no box: %s", s.Name, s.Exposure())
	}
	path, err := s.FindProgram(program[0])
	if err != nil {
		return &exitError{notExecuted(err), fmt.Errorf("program %w", err)}
	}
	id, err := identity(s)
	if err != nil {
		return err
	}
	room, err := newBoxRoom()
	if err != nil {
		return failure(err)
	}
	defer room.close()
	c := process.Command{
		Path: path, Args: program, Directory: s.Directory, TimerSlack: s.TimerSlack,
		Terminal: &[3]*os.File{os.Stdin, os.Stdout, os.Stderr}, Null: os.Stdin, Stderr: os.Stderr,
	}
	if id != nil {
		c.Credential = &syscall.Credential{Uid: id.UID, Gid: id.GID, Groups: id.Groups}
	}
	if s.Umask.Set {
		c.Umask = &s.Umask.Bits
	}
	own, missing, err := room.boxes.Fit(s.Name, s.Box, "")
	switch {
	case err != nil:
		return boxError(s, err)
	case own == nil:
		return boxError(s, fmt.Errorf("nothing of it can be had here: %w", missing[0]))
	}
	if _, needs := box.Summarize(missing); needs != "" {
		fmt.Fprintf(os.Stderr, "preforkd: service %s: box lacks %s\n", s.Name, needs)
	}
	c.Box = own
	terminal := newForeground()
	child, err := room.spawner.Start(&c, nil, boxEnvironment(s), nil)
	if err != nil {
		return &exitError{notExecuted(err), err}
	}
	child.ReleaseHandle()
	exit := terminal.wait(child.Pid)
	err = own.Failure(&c, &exit)
	if child.Cell != nil {
		now, _ := child.Cell.Leave(func(r process.Remains) { // on close, at the latest
			fmt.Fprintf(os.Stderr, "preforkd: ended what %s has left behind; processes: %d\n", human.Printable(program[0]), r.Leftovers)
			tellDenied(&r)
		})
		tellDenied(&now)
	}
	switch {
	case err != nil:
		return &exitError{notExecuted(err), err}
	case exit.Status.Signaled():
		return &exitError{code: exitSignal + int(exit.Status.Signal())}
	case exit.Status.ExitStatus() != exitOK:
		return &exitError{code: exit.Status.ExitStatus()}
	}
	return nil
}

// tellDenied says which system calls the box has denied, if it tells.
func tellDenied(r *process.Remains) {
	for _, call := range r.Denied.Calls {
		fmt.Fprintf(os.Stderr, "preforkd: the box does not allow the system call %s\n", call)
	}
}

// boxEnvironment returns this process's environment with what the service adds.
func boxEnvironment(s *config.Service) []string {
	env := os.Environ()
	for _, entry := range s.Environment() {
		if strings.Contains(entry, "=") {
			env = append(env, entry) // of two, the last one counts
		}
	}
	return env
}

// notExecuted returns the exit code for a program that was not executed.
func notExecuted(err error) int {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, exec.ErrNotFound):
		return exitNotFound
	case errors.Is(err, fs.ErrPermission), errors.Is(err, unix.ENOEXEC):
		return exitNotExecutable
	}
	return exitFailure
}
