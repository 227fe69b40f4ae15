package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/executable"
)

// A Command is the program that serves the connections of a service. Its fields
// do not change after it was made, and several goroutines may call Start at
// once.
type Command struct {
	Path string   // the executable, absolute
	Args []string // the whole argument vector; the first is the name of the program

	// Control selects the worker handoff. The program then gets the connection
	// as ipc.FDConnection and a control channel as ipc.FDControl. A spare gets
	// /dev/null as ipc.FDConnection. Without Control the program gets the
	// connection as fds 0 and 1, and nothing else.
	Control bool

	// Null is /dev/null, which is the standard input of programs with the
	// worker handoff. Stderr is fd 2 of every program. It is also fd 1 of
	// programs with the worker handoff. Both files belong to the caller.
	Null, Stderr *os.File

	// Directory is the working directory of the program. If it is empty, the
	// program starts in the master's.
	Directory string
	// Credential is the user and the groups of the program. If it is nil, the
	// program has the master's.
	Credential *syscall.Credential
	// Umask is the umask of the program. If it is nil, the program has the
	// master's.
	Umask *Umask
}

// A Child is a process that Start has started.
type Child struct {
	Pid int

	// Control is the master's end of the control channel, or -1 if there is no
	// channel. The caller owns it.
	Control int

	process *os.Process
}

// Start starts the program for a connection. If conn is nil, it starts a spare.
//
// When Start succeeds, it has closed conn. Then only the child holds the
// connection, and the peer sees its end when the child ends. When Start fails,
// the caller keeps conn.
//
// With Command.Control, Start sends the message into the control channel before
// the child exists, so the child finds its assignment there. A nil message is
// not sent.
//
// Start returns when the exec has succeeded or failed. A failed exec also
// leaves a child to reap, and Start does not return its pid.
//
// The caller must call ReleaseHandle on the child as soon as the goroutine that
// reaps knows its pid.
func (c *Command) Start(conn *os.File, env []string, message []byte) (child *Child, err error) {
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
			// With a group of its own the worker does not get Ctrl-C from the
			// master's terminal. A signal to the group also reaches the
			// processes that the worker has started.
			Setpgid: true,
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
				return nil, fmt.Errorf("send assignment: %w", err)
			}
		}
		control = master
		cmd.Stdin, cmd.Stdout = c.Null, c.Stderr
		cmd.ExtraFiles = []*os.File{connection, end} // fds 3 and 4
	} else {
		cmd.Stdin, cmd.Stdout = connection, connection
	}
	openFirst(c.Path)
	start := func() error { return dropAmbient(cmd.Start) }
	if c.Umask != nil {
		err = c.Umask.run(start)
	} else {
		err = start()
	}
	if errors.Is(err, unix.ENOENT) {
		// The file may be there, and what is missing its interpreter.
		if why := executable.Check(c.Path); why != nil {
			err = fmt.Errorf("start %s: %w", c.Path, why)
		}
	}
	if err != nil {
		return nil, err
	}
	if conn != nil {
		conn.Close()
	}
	return &Child{Pid: cmd.Process.Pid, Control: control, process: cmd.Process}, nil
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

// openFirst opens the program's file and reads its first bytes. It ignores all
// errors.
//
// Go spawns with vfork and holds one of its processors until the exec is done.
// An exec may stall on a file server or a disk that does not answer. As many
// stalled execs as there are processors would stop the whole master. Whatever
// stalls an exec stalls an open and a read of the file first, and a goroutine
// that waits there holds no processor. This costs a few microseconds.
func openFirst(path string) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return // exec reports why, or does not need the right to read
	}
	defer unix.Close(fd)
	var header [128]byte
	_, _ = unix.Pread(fd, header[:], 0)
}
