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

// IsExecMode reports whether ExecProgram understands a command line. args starts with
// the program's name.
func IsExecMode(args []string) bool {
	return len(args) > 1 && (args[1] == ipc.ExecStdio || args[1] == ipc.ExecSystemd)
}

// ExecProgram is the complete main function of a worker that executes another program.
// The worker gets its connection at its start, or later as a spare. The other program
// need not be built on this package. See ipc.ExecStdio for the command line.
// ExecProgram does not return.
//
// ExecProgram costs a second exec. In return a program can be a spare, and can have a
// LISTEN_PID with its own pid. Nobody knows that pid before the fork.
func ExecProgram(args []string) {
	exit(execProgram(args[1:]))
}

// execProgram returns an *exitError. It does not return when it succeeds.
func execProgram(args []string) error {
	mode, args := args[0], args[1:]
	if len(args) < 2 {
		return &exitError{ipc.ExitExec, fmt.Errorf("%s needs the path of a program and its argument vector", mode)}
	}
	hasConn, err := adoptDescriptors()
	if err != nil {
		return err
	}
	control := newControl(ipc.FDControl)
	a, err := control.nextAssignment(hasConn)
	if err != nil {
		return err
	}
	env := a.Environment
	if len(env) == 0 {
		env = os.Environ()
	}
	setUp := setUpStdio
	if mode == ipc.ExecSystemd {
		setUp = setUpSystemd
	}
	step := ipc.FailedDescriptors
	if env, err = setUp(env); err == nil {
		step, err = ipc.FailedExec, execWhenReady(args[0], args[1:], env)
	}
	if control.sendFailure(step, err) {
		return &exitError{code: ipc.ExitExec} // the master's log has the reason
	}
	return &exitError{ipc.ExitExec, fmt.Errorf("%v %s: %w", step, args[0], err)}
}

// These bound how long a worker tries again to execute its program, in milliseconds.
const (
	execTimeout  = 1000
	execMinPause = 5
	execMaxPause = 100
)

// execWhenReady executes a program. It returns only when that fails. For errors that
// pass by themselves it tries again for execTimeout: the program's file is open for
// writing, because a copy replaces it (ETXTBSY), or the system has no more open files
// (ENFILE).
//
// Go's runtime raises the soft limit of open files for itself. syscall.Exec restores the
// limit; a bare execve would not. A program that uses select(2) does not work with
// descriptors above 1023.
func execWhenReady(path string, args, env []string) error {
	pause := execMinPause
	for waited := 0; ; waited += pause {
		err := syscall.Exec(path, args, env)
		if err != syscall.ETXTBSY && err != syscall.ENFILE || waited >= execTimeout {
			return err
		}
		if waited > 0 {
			pause = min(2*pause, execMaxPause)
		}
		_, _ = unix.Poll(nil, pause)
	}
}

// setUpStdio sets up the descriptors of the stdio handoff. The exec closes all other
// descriptors, because they have FD_CLOEXEC. They stay open when the exec fails.
func setUpStdio(env []string) ([]string, error) {
	for fd := range 2 {
		if err := unix.Dup3(ipc.FDConnection, fd, 0); err != nil {
			return nil, err
		}
	}
	return env, closeOnExec(ipc.FDConnection)
}

// setUpSystemd sets up the descriptors and the environment of the systemd handoff.
// Standard input is already /dev/null.
func setUpSystemd(env []string) ([]string, error) {
	if _, err := unix.FcntlInt(ipc.FDConnection, unix.F_SETFD, 0); err != nil {
		return nil, err
	}
	result := make([]string, 0, len(env)+3)
	for _, v := range env {
		if !strings.HasPrefix(v, "LISTEN_") {
			result = append(result, v)
		}
	}
	// An exec does not change the pid.
	return append(result,
		"LISTEN_FDS=1",
		"LISTEN_PID="+strconv.Itoa(os.Getpid()),
		"LISTEN_FDNAMES=connection",
	), closeOnExec(ipc.FDControl)
}

// closeOnExec sets FD_CLOEXEC on every descriptor from first upwards.
func closeOnExec(first uint) error {
	err := unix.CloseRange(first, 1<<32-1, unix.CLOSE_RANGE_CLOEXEC)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
		// The kernel is older than Linux 5.11. The contract's two descriptors already
		// have FD_CLOEXEC.
		return nil
	}
	return err
}
