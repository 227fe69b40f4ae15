package process

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
)

// A Command is what is started for each connection of a service. It is filled
// in once and may be started by several goroutines at a time.
type Command struct {
	Path string   // the executable, absolute
	Args []string // the whole argument vector, the program's name first

	// Control gives the program the worker handoff: the connection as
	// ipc.FDConnection, or /dev/null there for a spare, and a control channel
	// as ipc.FDControl. Without it the program gets the connection as fds 0
	// and 1 and nothing else.
	Control bool

	// Null is /dev/null, the standard input of programs with the worker
	// handoff. Stderr is fd 2 of every program, and fd 1 of those whose fd 1
	// is not the connection. The command keeps neither open.
	Null, Stderr *os.File

	// Directory is where the program starts; empty: where the master is.
	Directory string
	// Credential is whom it runs as; nil: as the master.
	Credential *syscall.Credential
	// Umask, if it is not nil, is what it starts with in place of the master's.
	Umask *Umask
}

// A Child is a process that has been started.
type Child struct {
	Pid int

	// Control is the master's end of the control channel, or -1. The caller
	// owns it.
	Control int

	process *os.Process
}

// Start spawns the command for a connection. When it succeeds it has closed
// conn: from then on only the child holds the connection, and the peer sees its
// end when the child ends. When it fails the caller keeps conn. Without a conn
// it starts a spare.
//
// With Command.Control, a message that is not nil is sent into the control
// channel before the child exists, so that it finds its assignment waiting.
//
// Start returns when the exec has succeeded or failed. A failed exec, too,
// leaves a child to reap, whose pid nobody learns.
//
// The caller must call Registered on the child once the goroutine that reaps
// knows its pid.
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
			// A group of its own: Ctrl-C in the master's terminal does not
			// reach the worker, and stopping the worker reaches what it
			// started.
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
	touch(c.Path)
	start := func() error { return withoutAmbient(cmd.Start) }
	if c.Umask != nil {
		err = c.Umask.run(start)
	} else {
		err = start()
	}
	if err != nil {
		return nil, err
	}
	if conn != nil {
		conn.Close()
	}
	return &Child{Pid: cmd.Process.Pid, Control: control, process: cmd.Process}, nil
}

// Reaped reports whether the child has been reaped already, which tells an
// exit of this very process from one of an earlier process with the same pid.
// It must not be called after Registered.
//
// A Child without a process behind it, as tests make them, is reaped whenever
// its exit is there.
func (c *Child) Reaped() bool {
	if c.process == nil {
		return true
	}
	// os signals through a pidfd where the kernel has them. A zombie can
	// still be signalled; what has been reaped cannot.
	return c.process.Signal(syscall.Signal(0)) == os.ErrProcessDone
}

// Registered releases what Go holds of the child. Wait is never called in the
// master, so this is what closes the child's pidfd; and because it happens at
// once rather than at the reap, a live worker costs the master no descriptor
// but its control channel.
//
// A Child without a process behind it, as tests make them, has nothing to
// release.
func (c *Child) Registered() {
	if c.process != nil {
		c.process.Release()
	}
}

// touch opens a program and reads its first bytes, and nothing comes of it.
//
// Go spawns with vfork and holds one of its processors until the exec is done,
// so that an exec that stalls, on a server or a disk that does not answer,
// would stop the whole master once there are as many of them as processors.
// What makes an exec stall makes opening and reading the file stall first, and
// a goroutine that waits there stops nobody. It costs a few microseconds.
func touch(path string) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return // exec will say why, or needs no right to read
	}
	defer unix.Close(fd)
	var header [128]byte
	_, _ = unix.Pread(fd, header[:], 0)
}
