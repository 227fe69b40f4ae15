package box

import (
	"bytes"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/box/cgroup"
	"github.com/preforkd/preforkd/master/box/stub"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/osthread"
)

// JanitorThreads is how many threads the janitor of a Manager has once there is a
// box.
const JanitorThreads = 2

// answerTimeout bounds how long the holder of a cell may take to answer.
const answerTimeout = 10 * time.Second

// A janitor does what boxes have to do off the path of a connection. Its threads
// enter IPC namespaces of cells, and run nothing else.
type janitor struct {
	once sync.Once

	mu      sync.Mutex // guards what follows
	work    *sync.Cond
	queue   []func()
	busy    int // functions that run
	stopped bool
	done    sync.WaitGroup
}

func newJanitor() *janitor {
	j := &janitor{}
	j.work = sync.NewCond(&j.mu)
	return j
}

// do has a function called. After stop there is no other thread for it, and the
// caller calls it: everything ends then, and nothing takes long.
func (j *janitor) do(f func()) {
	j.mu.Lock()
	if j.stopped {
		j.mu.Unlock()
		f()
		return
	}
	defer j.mu.Unlock()
	j.once.Do(func() {
		for range JanitorThreads {
			j.done.Go(j.startThread)
		}
	})
	j.queue = append(j.queue, f)
	j.work.Signal()
}

// startThread runs a thread of the janitor to its end. That is never the main
// thread, whose namespaces are those of the process: Setns to the process itself
// would lead nowhere from there.
func (j *janitor) startThread() {
	thread, err := osthread.Start(func() error { return nil })
	if err != nil {
		return // never: the function has none
	}
	defer thread.Close()
	thread.Do(j.run)
}

func (j *janitor) run() {
	for {
		j.mu.Lock()
		for len(j.queue) == 0 && !j.stopped {
			j.work.Wait()
		}
		if len(j.queue) == 0 {
			j.mu.Unlock()
			return
		}
		f := j.queue[0]
		j.queue[0] = nil
		j.queue = j.queue[1:]
		j.busy++
		j.mu.Unlock()
		f()
		j.mu.Lock()
		j.busy--
		j.mu.Unlock()
	}
}

// stop ends the janitor when it has done all that it was to do.
func (j *janitor) stop() {
	j.mu.Lock()
	j.stopped = true
	j.work.Broadcast()
	j.mu.Unlock()
	j.done.Wait()
}

// inspect hands a cell out again if it is as new, and ends it otherwise. The cell
// belongs to the janitor.
func (j *janitor) inspect(c *cell) {
	j.do(func() {
		if !c.box.m.closed.Load() && c.clean() {
			c.box.putIdle(c)
		} else {
			c.drop()
		}
	})
}

// clean makes a cell as new in which something was, and reports whether it is. What
// cannot be told is no. It must be called on a thread of the janitor.
func (c *cell) clean() bool {
	if !c.ask(stub.RequestCheck) || !c.hasNoObjects() {
		return false
	}
	if c.group != nil && !renewGroup(c.group) {
		return false
	}
	if untouched, err := c.traces.Untouched(); err == nil && untouched {
		return true
	}
	// Most of what a cell costs is not its private mounts.
	if !c.ask(stub.RequestRenew) {
		return false
	}
	return c.mark() == nil
}

// empty ends what is left in a cell that has no pid namespace but a cgroup. It is the
// owner of the cell.
func (c *cell) empty() {
	defer c.box.end()
	c.left.Leftovers = c.group.Processes()
	if err := c.group.Kill(); err != nil {
		c.box.m.log.Warn("cgroup", logging.Service(c.box.service), logging.Error(err))
	}
	c.drop()
}

// How long a cgroup may be counted as populated after its last process was reaped.
const (
	emptyNap  = time.Millisecond
	emptyNaps = 20
)

// renewGroup makes a cgroup ready for another process, and reports false if that cannot
// be.
func renewGroup(l *cgroup.Leaf) bool {
	for range emptyNaps {
		populated, err := l.Populated()
		if err != nil {
			return false
		}
		if !populated {
			return l.Begin() == nil
		}
		time.Sleep(emptyNap)
	}
	return false
}

// ask asks the holder something, and reports whether it is alone in its pid namespace
// and has done it.
func (c *cell) ask(request byte) bool {
	if _, err := unix.Write(c.control, []byte{request}); err != nil {
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

// hasNoObjects reports whether nothing is left in the namespaces of a cell that lives
// without a process: System V IPC objects (sysvipc(7)), POSIX message queues
// (mq_overview(7)), and unix sockets, one of which somebody outside could have been sent.
func (c *cell) hasNoObjects() bool {
	flags := c.box.set.cellFlags & (unix.CLONE_NEWIPC | unix.CLONE_NEWNET)
	if flags == 0 {
		return true
	}
	if unix.Setns(c.pidfd, int(flags)) != nil {
		return false
	}
	none := (flags&unix.CLONE_NEWIPC == 0 || hasNoIPC() && (c.queues != "" || hasNoQueues())) &&
		(flags&unix.CLONE_NEWNET == 0 || hasNoSockets())
	// If it fails, the thread is in these namespaces until the next cell, which does no
	// harm but keeps them.
	_ = unix.Setns(c.box.shared.self, int(flags))
	return none && (c.queues == "" || isEmptyDirectory(unix.AT_FDCWD, c.queues))
}

// hasNoIPC reports whether there is no System V IPC object in the namespace of the
// calling thread.
func hasNoIPC() bool {
	return countIPC(unix.SYS_SHMCTL, shmInfo) == 0 && countIPC(unix.SYS_SEMCTL, semInfo) == 0 && countIPC(unix.SYS_MSGCTL, msgInfo) == 0
}

// hasNoSockets reports whether there is no unix socket in the network namespace of the
// calling thread. Then the file has its heading only.
func hasNoSockets() bool {
	file, err := unix.Open("/proc/thread-self/net/unix", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(file)
	var text [256]byte
	n, err := unix.Read(file, text[:])
	return err == nil && bytes.IndexByte(text[:max(n, 0)], '\n') == n-1
}

// The commands of shmctl(2), semctl(2) and msgctl(2) that tell what there is.
const (
	shmInfo = 14 // SHM_INFO: struct shm_info, whose first int is the number of segments
	semInfo = 19 // SEM_INFO: struct seminfo, whose eighth int is the number of sets
	msgInfo = 12 // MSG_INFO: struct msginfo, whose first int is the number of queues
)

// countIPC returns how many objects of a kind there are in the namespace of the
// calling thread, or -1.
func countIPC(call, command uintptr) int {
	var info [32]int32 // more than any of the structures
	arguments := [4]uintptr{0, command, uintptr(unsafe.Pointer(&info)), 0}
	field := 0
	if command == semInfo {
		arguments = [4]uintptr{0, 0, command, uintptr(unsafe.Pointer(&info))}
		field = 7 // semusz
	}
	_, _, errno := unix.RawSyscall6(call, arguments[0], arguments[1], arguments[2], arguments[3], 0, 0)
	runtime.KeepAlive(&info)
	switch {
	case errno == unix.ENOSYS:
		return 0
	case errno != 0:
		return -1
	}
	return int(info[field])
}

// hasNoQueues reports whether there is no POSIX message queue in the namespace of
// the calling thread. They are the files of a file system, which this mounts: that
// costs many times as much as a look at one that is mounted.
func hasNoQueues() bool {
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
