package box

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/box/mounts"
	"github.com/preforkd/preforkd/master/box/stub"
)

// request asks the holder something.
func (c *cell) request(what byte) error {
	_, err := unix.Write(c.control, []byte{what})
	if err == unix.EPIPE || err == unix.ECONNRESET {
		return errHolderEnded
	}
	return os.NewSyscallError("write", err)
}

// ask asks the holder something that it does, and reports whether it is alone
// in its pid namespace and has done it.
func (c *cell) ask(what byte) bool {
	if c.request(what) != nil {
		return false
	}
	var answer [64]byte
	n, err := c.receive(answer[:])
	if err != nil {
		return false
	}
	empty, err := stub.ParseAnswer(answer[:n])
	return err == nil && empty
}

// answers are buffers for what holders have seen. They have more room than any answer
// takes: the kernel would cut it off.
var answers = sync.Pool{New: func() any { return new([4096]byte) }}

// seen waits for the answer to a RequestCheck or RequestLook. It returns nil if the holder
// is not alone, or somebody uses the mounts of the cell.
func (c *cell) seen() (*stub.Seen, error) {
	answer := answers.Get().(*[4096]byte)
	defer answers.Put(answer)
	n, err := c.receive(answer[:])
	if err != nil {
		return nil, err
	}
	return c.template.looks.ParseSeen(answer[:n])
}

// mark remembers the state of the private mounts, which are new, and returns what the
// holder has seen of them.
func (c *cell) mark() (*stub.Seen, error) {
	if c.template.mounts != nil {
		err := c.template.mounts.Mark(c.pid)
		if err != nil && c.endsWithin(dyingTime) {
			return nil, errHolderEnded // who has no root any more
		}
		if err != nil {
			return nil, err
		}
	}
	// What another thread forks has for a moment copies of the descriptors that Mark had.
	if err := c.request(stub.RequestLook); err != nil {
		return nil, err
	}
	seen, err := c.seen()
	if err == nil && seen == nil {
		err = errors.New("something runs in a cell that is new")
	}
	if err == nil {
		c.first, _ = c.states(seen)
	}
	return seen, err
}

// states returns the states of the cell's temporary file systems, and that of its directory
// of message queues, if it has one. The size of that one grows with each queue
// (ipc/mqueue.c of the kernel).
func (c *cell) states(seen *stub.Seen) (states []mounts.State, queues mounts.State) {
	for i := range seen.Directories {
		states = append(states, mounts.NewState(&seen.Directories[i].Stat, &seen.Directories[i].FileSystem))
	}
	if last := len(states) - 1; c.template.queues {
		states, queues = states[:last], states[last]
	}
	return states, queues
}

// hasNoObjects reports whether nothing is left in the namespaces of a cell that lives
// without a process: System V IPC objects (sysvipc(7)), POSIX message queues
// (mq_overview(7)), and sockets, one of which somebody outside could have been sent.
// The directory of the queues has to be as it was: its owner can change its mode and times.
func (c *cell) hasNoObjects(seen *stub.Seen, queues mounts.State) bool {
	flags := c.box.set.cellFlags
	switch {
	case seen.Objects != 0:
	case queues != c.noQueues:
	case flags&unix.CLONE_NEWIPC != 0 && !c.template.queues && !c.hasNoQueues():
	case flags&unix.CLONE_NEWNET != 0 && !hasNoSockets(c.pid):
	default:
		return true
	}
	return false
}

// noSockets is how the file begins that counts the sockets of a network namespace, those of
// the kernel not included (socket_seq_show in net/socket.c).
var noSockets = []byte("sockets: used 0\n")

// hasNoSockets reports whether there is no socket in the network namespace of a process,
// whatever its family. The kernel takes some time to free those of netlink(7) that were
// closed.
func hasNoSockets(pid int) bool {
	for range emptyNaps {
		var text [64]byte
		n, err := readFile("/proc/"+strconv.Itoa(pid)+"/net/sockstat", text[:])
		if err != nil {
			return false
		}
		if bytes.HasPrefix(text[:n], noSockets) {
			return true
		}
		time.Sleep(emptyNap)
	}
	return false
}

// readFile reads the beginning of a file.
func readFile(path string, text []byte) (n int, err error) {
	file, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(file)
	n, err = unix.Read(file, text)
	return max(n, 0), err
}

// hasNoQueues reports whether there is no POSIX message queue in a cell that does not show
// them. They are the files of a file system, which this mounts: that costs many times as
// much as a look at one that is mounted.
func (c *cell) hasNoQueues() bool {
	if unix.Setns(c.pidfd, unix.CLONE_NEWIPC) != nil {
		return false
	}
	// If it fails, the thread is in this namespace until the next cell, which does no
	// harm but keeps it.
	defer unix.Setns(c.box.shared.self, unix.CLONE_NEWIPC)
	fs, err := unix.Fsopen("mqueue", unix.FSOPEN_CLOEXEC)
	if err == unix.ENODEV {
		return true // the kernel has none
	}
	if err != nil {
		return false
	}
	defer unix.Close(fs)
	if unix.FsconfigCreate(fs) != nil {
		return false
	}
	root, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(root)
	return isEmptyDirectory(root, ".")
}

// isEmptyDirectory reports whether a directory can be read and has no files.
func isEmptyDirectory(at int, path string) bool {
	dir, err := unix.Openat(at, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(dir)
	var buf [512]byte
	n, err := unix.ReadDirent(dir, buf[:])
	if err != nil {
		return false
	}
	_, _, names := unix.ParseDirent(buf[:n], -1, nil)
	return len(names) == 0
}
