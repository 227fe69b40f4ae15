package box

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/box/cgroup"
	"github.com/preforkd/preforkd/master/box/mounts"
	"github.com/preforkd/preforkd/master/box/stub"
	"github.com/preforkd/preforkd/master/process"
)

// A cell is what one process in a box has for itself. It implements process.Cell.
//
// With namespaces it has a first process, its holder, which is a child of this
// process. The cell is over when the holder was reaped: what was in its pid
// namespace is gone then. Without, it is the process's place among those that
// live, and its user id.
type cell struct {
	box         *Box
	dynamicUser bool
	uid         uint32

	once atomic.Bool // it is not to be handed out again

	pidfd   int // of the holder, or -1
	pid     int
	control int // socket to the holder
	// parked runs functions where the two descriptors are, nil if they are in the table
	// of this process. The owner sets it.
	parked func(func())

	template *template      // of a cell with a holder
	first    []mounts.State // of its temporary file systems, when these were new
	noQueues mounts.State   // of the directory of message queues, when there were none; zero without one

	// worker is the pid of the process that was started in the cell last.
	worker int
	// group is what the process is counted in, or nil. It belongs to the owner.
	group *cgroup.Leaf
	// done is called with left when the cell is over. The owner sets these before it
	// drops the cell. leaving says that done is to be called, or was.
	done    func(process.Remains)
	left    process.Remains
	leaving bool

	// refs counts the owner, which may signal the holder and enter the cell, and
	// the holder itself until it was reaped. Without either the descriptors are
	// closed.
	refs atomic.Int32
}

// errHolderEnded says that somebody has killed the holder of a cell.
var errHolderEnded = errors.New("the first process of the cell has ended")

func newGuest(b *Box) *cell {
	c := &cell{box: b, pidfd: -1, control: -1}
	c.refs.Store(1)
	return c
}

// acquireUser gives the cell a user id, if the box has them. An idle cell has none, so
// that boxes which are not busy leave the ids to those that are.
func (c *cell) acquireUser() error {
	if c.box.users == nil {
		return nil
	}
	var ok bool
	if c.uid, ok = c.box.users.Acquire(); !ok {
		return fmt.Errorf("dynamic-user: every user id of user-pool is in use: %w", process.ErrBoxFull)
	}
	c.dynamicUser = true
	return nil
}

func (c *cell) releaseUser() {
	if !c.dynamicUser {
		return
	}
	if c.box.users != nil {
		c.box.users.Release(c.uid)
	} else {
		c.box.m.users.Unclaim(c.uid) // the cell is of an earlier master
	}
	c.dynamicUser = false
}

// newCell makes a cell. It must be called on a thread with a file system state of
// its own, and takes about as long as a small program.
func newCell(b *Box, t *template) (*cell, error) {
	c := &cell{box: b, pidfd: -1, control: -1}
	if err := c.startHolder(t); err != nil {
		return nil, err
	}
	if err := c.awaitReady(t); err != nil {
		c.drop()
		return nil, err
	}
	return c, nil
}

// startHolder starts the first process of a cell, and has it known.
func (c *cell) startHolder(t *template) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	end := os.NewFile(uintptr(pair[1]), "control")
	defer end.Close()
	b, pidfd := c.box, -1
	null := b.shared.null
	cmd := exec.Cmd{
		Path: t.init.path, Args: []string{"preforkd-cell"}, Env: []string{},
		Stdin: null, Stdout: null, Stderr: null, ExtraFiles: []*os.File{end},
		SysProcAttr: &syscall.SysProcAttr{Cloneflags: b.set.cellFlags, Setsid: true, PidFD: &pidfd, AmbientCaps: holderCapabilities()},
	}
	if t.init.file != nil {
		cmd.Path = process.FilePath(initControl + 1) // which the holder closes
		cmd.ExtraFiles = append(cmd.ExtraFiles, t.init.file)
	}
	err = b.inside(t, nil, t.init.dir, cmd.Start)
	if cmd.Process == nil {
		unix.Close(pair[0])
		if path, ok := errors.AsType[*fs.PathError](err); ok {
			err = fmt.Errorf("%s: %w", path.Op, path.Err) // the path says nothing to anybody
		}
		return explainClone(err, &b.cfg, b.set.cellFlags)
	}
	c.pid, c.pidfd, c.control = cmd.Process.Pid, pidfd, pair[0]
	cmd.Process.Release()
	// Nothing answers for long: a holder only ever looks at processes.
	timeout := unix.NsecToTimeval(answerTimeout.Nanoseconds())
	_ = unix.SetsockoptTimeval(c.control, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)
	b.mu.Lock()
	b.live++ // until the cell is over
	b.mu.Unlock()
	c.refs.Store(2)
	if !b.m.addHolder(c) {
		c.close()
		b.end()
		return errors.Join(err, fmt.Errorf("make a cell: %w", errHolderEnded))
	}
	if err != nil { // the thread is lost, and the cell is of no use
		c.drop()
	}
	return err
}

// holderCapabilities returns what a holder needs of the master's capabilities: it mounts,
// and ends processes of other users. An exec gives user 0 all of them, and others only
// those of the ambient set (capabilities(7)).
func holderCapabilities() (ambient []uintptr) {
	if os.Geteuid() == 0 {
		return nil
	}
	for _, c := range []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_KILL} {
		if held(c) {
			ambient = append(ambient, c)
		}
	}
	return ambient
}

// awaitReady waits until the holder has made the cell's mounts.
func (c *cell) awaitReady(t *template) error {
	var message [64]byte
	n, err := c.receive(message[:])
	if err == nil {
		err = stub.ParseReady(message[:n])
	}
	if err == nil {
		c.template = t
		var seen *stub.Seen
		if seen, err = c.mark(); err == nil {
			_, c.noQueues = c.states(seen)
		}
	}
	var failure stub.Failure
	switch {
	case errors.As(err, &failure) && failure.Step.Action == stub.MakeMount:
		m := t.mounts.CellMounts()[failure.Step.Number]
		return explainMount(failure, &c.box.cfg, m.Target, m.Type)
	case err != nil:
		return fmt.Errorf("make a cell: %w", err)
	}
	return nil
}

func (c *cell) receive(message []byte) (int, error) {
	for {
		n, err := unix.Read(c.control, message)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return 0, errors.New("the first process of the cell does not answer")
		case err == nil && n == 0:
			return 0, errHolderEnded
		default:
			return n, err
		}
	}
}
