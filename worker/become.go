package worker

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
)

// Becomes reports whether a command line, the program's name first, is one
// that Become understands.
func Becomes(args []string) bool {
	return len(args) > 1 && (args[1] == ipc.ExecStdio || args[1] == ipc.ExecSystemd)
}

// Become is the whole of a worker that gets its connection, spawned for it or
// as a spare, and then turns into a program that is not built on this package;
// see ipc.ExecStdio for the command line. It does not return.
//
// It costs a second exec. What it buys is that a program can be a spare, and a
// LISTEN_PID that is the program's own, which nobody knows before the fork.
func Become(args []string) {
	exit(become(args[1:]))
}

// become returns an *exitError; when it succeeds there is nobody to return to.
func become(args []string) error {
	mode, args := args[0], args[1:]
	if len(args) < 2 {
		return &exitError{ipc.ExitExec, fmt.Errorf("%s needs the path of a program and its argument vector", mode)}
	}
	held, err := adopt()
	if err != nil {
		return err
	}
	a, err := newControl(ipc.FDControl).next(held)
	if err != nil {
		return err
	}
	env := a.Environment
	if len(env) == 0 {
		env = os.Environ()
	}
	prepare := toStdio
	if mode == ipc.ExecSystemd {
		prepare = toSystemd
	}
	if env, err = prepare(env); err == nil {
		// The runtime has raised the soft limit of open files for itself, and
		// syscall.Exec, unlike a bare execve, puts it back: a program that
		// uses select(2) could not live with descriptors beyond 1024.
		err = syscall.Exec(args[0], args[1:], env)
	}
	return &exitError{ipc.ExitExec, fmt.Errorf("exec %s: %w", args[0], err)}
}

// toStdio lays out the descriptors of the stdio handoff. FD_CLOEXEC closes
// what is beyond them, and not before the exec has succeeded.
func toStdio(env []string) ([]string, error) {
	for fd := range 2 {
		if err := unix.Dup3(ipc.FDConnection, fd, 0); err != nil {
			return nil, err
		}
	}
	return env, closeOnExec(ipc.FDConnection)
}

// toSystemd lays out the descriptors and the environment of the systemd
// handoff. Standard input is /dev/null already.
func toSystemd(env []string) ([]string, error) {
	if _, err := unix.FcntlInt(ipc.FDConnection, unix.F_SETFD, 0); err != nil {
		return nil, err
	}
	passed := make([]string, 0, len(env)+3)
	for _, v := range env {
		if !strings.HasPrefix(v, "LISTEN_") {
			passed = append(passed, v)
		}
	}
	// The exec keeps the pid.
	return append(passed,
		"LISTEN_FDS=1",
		"LISTEN_PID="+strconv.Itoa(os.Getpid()),
		"LISTEN_FDNAMES=connection",
	), closeOnExec(ipc.FDControl)
}

// closeOnExec sets FD_CLOEXEC on every descriptor from first on, whoever has
// opened it.
func closeOnExec(first uint) error {
	err := unix.CloseRange(first, 1<<32-1, unix.CLOSE_RANGE_CLOEXEC)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
		// Before Linux 5.11. The contract's own two have the flag.
		return nil
	}
	return err
}
