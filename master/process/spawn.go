package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/executable"
	"github.com/preforkd/preforkd/master/osthread"
)

// A Command is the program that serves the connections of a service. Its fields
// do not change after it was made, and several goroutines may call Start at
// once.
type Command struct {
	Path string   // the executable, absolute
	Args []string // the whole argument vector; the first is the name of the program

	// File is the open file that is executed in place of what is at Path by then, or nil.
	// Binaries have them. The program does not get it. It must not be a script.
	File *os.File

	// Program is the path of the program that the worker binary at Path
	// executes once it has its connection. It is empty where Path is the program.
	Program string

	// Handler says that Path is the worker binary, which serves by itself and starts no
	// process. A box passes it the open file: the binary need not be there in the box.
	Handler bool

	// Control selects the worker handoff. The program then gets the connection
	// as ipc.FDConnection and a control channel as ipc.FDControl. A spare gets
	// /dev/null as ipc.FDConnection. Without Control the program gets the
	// connection as fds 0 and 1, and nothing else.
	Control bool

	// Null is /dev/null, which is the standard input of programs with the
	// worker handoff. Stderr is fd 2 of every program. It is also fd 1 of
	// programs with the worker handoff. Both files belong to the caller.
	Null, Stderr *os.File

	// Terminal holds fds 0, 1 and 2 of a program that somebody runs from a terminal.
	// It has no connection then, and stays in the session and the process group of
	// this process, so that the terminal's keys reach it. The files belong to the
	// caller. It is nil for workers.
	Terminal *[3]*os.File

	// Directory is the working directory of the program. If it is empty, the
	// program starts in the master's.
	Directory string
	// Credential is the user and the groups of the program. If it is nil, the
	// program has the master's.
	Credential *syscall.Credential
	// Umask is the umask of the program. If it is nil, the program has the
	// master's. The caller of Start sets it on the thread: neither os/exec nor
	// SysProcAttr can set a umask between fork and exec.
	Umask *uint32
	// OOMScoreAdjust is the adjustment of the program's OOM score. If it is nil,
	// the program has the master's. The caller of Start sets it afterwards.
	OOMScoreAdjust *int
	// TimerSlack is by how much timers of the program may be late (PR_SET_TIMERSLACK,
	// prctl(2)). If it is 0, a Handler has that of osthread.StartRelaxed, and every other
	// program that of osthread.StartUsual.
	TimerSlack time.Duration
	// Box is what the program runs in, or nil. The caller of Start has the box
	// start it.
	Box Box
}

// A Child is a process that Start has started.
type Child struct {
	Pid int

	// Control is the master's end of the control channel, or -1 if there is no
	// channel. The caller owns it.
	Control int

	// Cell is what the child has of its box for itself, or nil.
	Cell Cell

	process *os.Process
}

// Start starts the program for a connection. If conn is nil, it starts a spare.
//
// The caller keeps conn. When the caller closes it after Start, only the child
// holds the connection, and the peer sees its end when the child ends.
//
// With Command.Control, Start sends the message into the control channel before
// the child exists, so the child finds its assignment there. A nil message is
// not sent.
//
// Start returns when the exec has succeeded or failed. A failed exec also
// leaves a child to reap, and Start does not return its pid.
//
// The child inherits the umask and the capabilities of the calling thread.
//
// The caller must call ReleaseHandle on the child as soon as the goroutine that
// reaps knows its pid.
func (c *Command) Start(conn *os.File, env []string, message []byte) (child *Child, err error) {
	child, err = c.start(conn, env, message, nil)
	if err != nil && !errors.Is(err, errHandover) {
		err = c.explain(c.Path, err)
	}
	return child, err
}

// errHandover marks the errors of what Start does before it starts a process.
var errHandover = errors.New("send assignment")

// start is Start. in is what the child is inside of, or nil. The error of the fork
// and of the exec is that of os/exec.
func (c *Command) start(conn *os.File, env []string, message []byte, in *Inside) (*Child, error) {
	child, err := c.startWith(conn, env, message, in)
	if conn == nil || !errors.Is(err, unix.EBADF) {
		return child, err
	}
	// Package syscall moves descriptors of the child above all that it has, and for a
	// connection with one of the last numbers dup3(2) says EBADF.
	lower, err := duplicateBelow(conn)
	if err != nil {
		return nil, err
	}
	defer lower.Close()
	return c.startWith(lower, env, message, in)
}

// duplicateBelow duplicates a file to a lower number. The error is EMFILE if there is none.
// The caller must close the duplicate.
func duplicateBelow(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil && fd > int(f.Fd()) {
		unix.Close(fd)
		err = unix.EMFILE
	}
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// startWith is start where the table of descriptors has numbers above that of conn.
func (c *Command) startWith(conn *os.File, env []string, message []byte, in *Inside) (child *Child, err error) {
	connection := conn
	if conn == nil {
		connection = c.Null
	}
	cmd := exec.Cmd{
		Path:   c.Path,
		Args:   c.Args,
		Env:    env,
		Dir:    c.Directory,
		Stderr: c.Stderr,
		SysProcAttr: &syscall.SysProcAttr{
			Credential: c.Credential,
			// The worker leads a session, and so a process group, of its own.
			// It does not get Ctrl-C from the master's terminal. It has no
			// controlling terminal, so the terminal of a foreground master
			// cannot stop it (SIGTTIN, SIGTTOU), and opening /dev/tty fails
			// with ENXIO. A signal to the group also reaches the processes that
			// the worker has started.
			Setsid: true,
		},
	}
	control := -1
	if c.Control {
		master, worker, err := ipc.NewChannel()
		if err != nil {
			return nil, err
		}
		end := os.NewFile(uintptr(worker), "control")
		defer end.Close()
		defer func() {
			if child == nil {
				unix.Close(master)
			}
		}()
		if message != nil {
			if err := ipc.Send(master, message); err != nil {
				return nil, fmt.Errorf("%w: %w", errHandover, err)
			}
		}
		control = master
		cmd.Stdin, cmd.Stdout = c.Null, c.Stderr
		cmd.ExtraFiles = []*os.File{connection, end} // fds 3 and 4
	} else if c.Terminal != nil {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Terminal[0], c.Terminal[1], c.Terminal[2]
		cmd.SysProcAttr.Setsid = false
	} else {
		cmd.Stdin, cmd.Stdout = connection, connection
	}
	if in != nil {
		in.apply(&cmd)
	} else if c.File != nil {
		done, err := c.executeFile(&cmd)
		if err != nil {
			return nil, err
		}
		defer done()
	}
	if err = c.withSlack(cmd.Start); err != nil {
		if failed, ok := errors.AsType[*fs.PathError](err); ok && in == nil {
			failed.Path = c.Path
		}
		return nil, err
	}
	return &Child{Pid: cmd.Process.Pid, Control: control, process: cmd.Process}, nil
}

// withSlack calls start, which starts the program, so that the program has its slack.
func (c *Command) withSlack(start func() error) error {
	switch {
	case c.TimerSlack > 0:
		return osthread.StartWith(c.TimerSlack, start)
	case c.Handler:
		return osthread.StartRelaxed(start)
	}
	return osthread.StartUsual(start)
}

// ExecError is the error of a program that a process of the command could not execute
// in its own place. It has the text that Start returns for the same program.
func (c *Command) ExecError(path string, errno unix.Errno) error {
	return c.explain(path, &fs.PathError{Op: "fork/exec", Path: path, Err: errno})
}

// explain names the interpreter in the error of an exec, if that is missing and
// the file is there.
func (c *Command) explain(path string, err error) error {
	open := executable.Open
	if c.Box != nil && !c.Handler { // a handler is passed into it
		open = c.Box.Open
	}
	if errors.Is(err, unix.ENOENT) {
		if why := executable.Check(path, open); why != nil {
			return fmt.Errorf("start %s: %w", path, why)
		}
	}
	return err
}

// Reaped reports whether the child has been reaped already. So the caller can
// tell the exit of this process from the exit of an earlier process with the
// same pid. Reaped must not be called after ReleaseHandle.
//
// Tests make a Child that has no process. It counts as reaped.
func (c *Child) Reaped() bool {
	if c.process == nil {
		return true
	}
	// Package os signals through a pidfd where the kernel has them. A zombie
	// can still be signalled. A process that was reaped cannot.
	return c.process.Signal(syscall.Signal(0)) == os.ErrProcessDone
}

// Kill sends SIGKILL to the child, unless it has been reaped. Kill must not be called
// after ReleaseHandle.
func (c *Child) Kill() {
	if c.process != nil {
		_ = c.process.Kill()
	}
}

// ReleaseHandle releases Go's handle of the child, which closes its pidfd. The
// master never calls os.Process.Wait, which would close it, too. The master
// calls ReleaseHandle before the reap, so a live worker costs it no descriptor
// but the control channel.
//
// Tests make a Child that has no process. It has no handle to release.
func (c *Child) ReleaseHandle() {
	if c.process != nil {
		c.process.Release()
	}
}

// ReadAhead opens the program's file and reads its first bytes. It ignores all
// errors. It is called before Start.
//
// Go spawns with vfork and holds one of its processors until the exec is done.
// An exec may stall on a file server or a disk that does not answer. As many
// stalled execs as there are processors would stop the whole master. Whatever
// stalls an exec stalls an open and a read of the file first, and a goroutine
// that waits there holds no processor. This costs a few microseconds.
func (c *Command) ReadAhead() {
	var header [128]byte
	if c.File != nil {
		_, _ = unix.Pread(int(c.File.Fd()), header[:], 0)
		return
	}
	fd, err := unix.Open(c.Path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return // exec reports why, or does not need the right to read
	}
	defer unix.Close(fd)
	_, _ = unix.Pread(fd, header[:], 0)
}
