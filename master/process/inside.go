package process

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
)

// A Box isolates the processes that are started in it. Package box has them.
type Box interface {
	// Start starts a process in the box, as Command.Start does outside. It must be
	// called on a thread with a file system state of its own (CLONE_FS,
	// unshare(2)), and leaves the thread as it was. An error that wraps
	// ErrThreadLost says that it could not.
	//
	// What the child sets up after its fork it does by itself, and tells of a
	// failure later: Failure knows then.
	Start(c *Command, conn *os.File, env []string, message []byte) (*Child, error)
	// Bare reports whether nothing in the box ever has a capability. Then Start must
	// be called on a thread whose bounding set is empty (ClearBounding).
	Bare() bool
	// Failure returns why a process that Start has started never executed its
	// program, or nil if it did. The process must have ended with this status and
	// been reaped.
	Failure(c *Command, exit *Exit) error
	// Open opens a file for reading that a process in the box finds at a path. It does
	// not wait for the other end of a FIFO.
	Open(path string) (*os.File, error)
}

// A Cell is what one process in a box has for itself, such as its namespaces.
type Cell interface {
	// Leave gives the cell back when the process was reaped, and returns what it has
	// used. If the process has left other processes behind in the cell, Leave reports
	// false, and the cell ends them. Then it calls done, from any goroutine.
	Leave(done func(Remains)) (r Remains, empty bool)
	// Holds reports whether nothing that the process has started can leave the
	// cell. Otherwise Leave always reports true, and knows of no leftovers.
	Holds() bool
	// CPUTime returns the CPU time that the process and all that it has started have
	// used so far in the cell. It reports false if the kernel does not tell.
	CPUTime() (time.Duration, bool)
	// Serves tells the cell of a connection that its process, which was started without
	// one, is about to be given. Any goroutine may call it.
	Serves(conn *os.File)
	// Descriptors returns the descriptors that the cell has in the table of this
	// process, none if they were parked. The cell may be used by one goroutine, and
	// keeps them.
	Descriptors() []int
	// Parked tells the cell that these are their copies, in the same order, whose numbers
	// are valid inside do, which outlives the cell. It closes the ones that it had.
	Parked(do func(func()), copies []int)
	// ParkedDescriptors returns the copies, none if they were not parked or are closed.
	// The one that reaps calls it, also after Leave.
	ParkedDescriptors() []int
	// TakenBack tells the cell that its parked descriptors have moved back to the table of
	// this process, in the same order.
	TakenBack(fds []int)
}

// Remains are what a cell tells of a process when it is empty.
type Remains struct {
	Leftovers int        // processes that were left and were ended
	Usage     *CellUsage // nil: nobody has counted
	Denied    Denied
}

// Denied is which system calls of a process, and of all that it has started, a box has
// denied, as far as it tells.
type Denied struct {
	Calls  []string // their names, each once
	Killed bool     // a process was killed for one
}

// CellUsage is what all processes in a cell have used together, and how its limits were met.
type CellUsage struct {
	OOMKills     uint64 // processes that were killed because memory ran out
	TasksRefused uint64 // processes and threads that were refused
	CPUThrottled uint64 // periods of 100 ms in which a quota was met
	CPUTime      time.Duration
	MemoryPeak   uint64 // bytes; 0 is unknown
	TasksPeak    int    // processes and threads at once; 0 is unknown
}

// ErrThreadLost says that a thread could not be taken back out of a box. Nothing
// must run on it any more.
var ErrThreadLost = errors.New("a thread cannot leave a box")

// ErrBoxFull says that a box has no room for one more process. What processes that
// have just ended had there may be about to be free.
var ErrBoxFull = errors.New("no room in the box")

// An Inside is what differs when a process is started in a box.
type Inside struct {
	// Image is the file that is executed in place of Command.Path, with the same
	// arguments. It makes the process ready and executes that.
	Image string
	// ImageFile is the open file of an image that has no path of its own, or nil. It
	// becomes ImageFD in the child, and Image is then of no account. The file stays the
	// caller's.
	ImageFile *os.File
	// Program is the open file of the program that the image executes, or nil if the
	// image finds it by Command.Path (Command.PassesProgram). It becomes ProgramFD in the
	// child. The file stays the caller's.
	Program *os.File
	// Report is a socket that the image tells of failures on. It becomes
	// ReportFD in the child. The file stays the caller's.
	Report *os.File
	// Alarm is the end of a pipe that has the process killed, or nil. It becomes AlarmFD in
	// the child. The file stays the caller's.
	Alarm *os.File
	// Credential takes the place of Command.Credential. Command.Directory is the
	// image's business.
	Credential *syscall.Credential
	// Ambient holds the capabilities that the image is given.
	Ambient []uintptr
	// Cgroup is a descriptor of the cgroup that the process begins in, or -1.
	Cgroup int
}

// ReportFD returns which descriptor of a child Inside.Report becomes.
func (c *Command) ReportFD() int {
	if c.Control {
		return ipc.FDControl + 1
	}
	return firstExtraFile
}

// firstExtraFile is the descriptor that the first of exec.Cmd.ExtraFiles becomes.
const firstExtraFile = 3

// ProgramFD returns which descriptor of a child Inside.Program becomes.
func (c *Command) ProgramFD() int { return c.ReportFD() + 1 }

// PassesProgram reports whether a process that is started inside of something is passed
// the file of its program.
func (c *Command) PassesProgram() bool { return c.Handler || c.File != nil }

// ImageFD returns which descriptor of a child Inside.ImageFile becomes.
func (c *Command) ImageFD() int {
	if c.PassesProgram() {
		return c.ProgramFD() + 1
	}
	return c.ReportFD() + 1
}

// AlarmFD returns which descriptor of a child Inside.Alarm becomes, if there is an
// ImageFile.
func (c *Command) AlarmFD() int { return c.ImageFD() + 1 }

// FilePath returns the path by which a process executes what it has open. The
// descriptor must be one that it gets by exec.Cmd: package syscall moves others about
// between fork and exec, and closes what is in its way.
func FilePath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// StartInside is Start for a process inside of something. Errors of the fork and of
// the exec of the image name neither of the two.
func (c *Command) StartInside(conn *os.File, env []string, message []byte, in *Inside) (*Child, error) {
	child, err := c.start(conn, env, message, in)
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err
	}
	return child, err
}

// apply has a command started inside.
func (in *Inside) apply(cmd *exec.Cmd) {
	cmd.Path, cmd.Dir = in.Image, ""
	cmd.ExtraFiles = append(cmd.ExtraFiles, in.Report)
	if in.Program != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, in.Program)
	}
	if in.ImageFile != nil {
		cmd.Path = FilePath(len(cmd.ExtraFiles) + firstExtraFile)
		cmd.ExtraFiles = append(cmd.ExtraFiles, in.ImageFile)
	}
	if in.Alarm != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, in.Alarm)
	}
	cmd.SysProcAttr.Credential, cmd.SysProcAttr.AmbientCaps = in.Credential, in.Ambient
	if in.Cgroup >= 0 {
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, in.Cgroup
	}
}

// HasChildren reports whether a process has children, as the kernel lists them for
// its main thread (proc_pid_task(5), children). The pid must be that of a process
// that this one has not reaped. It fails where the kernel has no such list
// (CONFIG_PROC_CHILDREN).
func HasChildren(pid int) (bool, error) {
	file, err := unix.Open(childrenFile(pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(file)
	var first [1]byte
	n, err := unix.Read(file, first[:])
	return n != 0, err
}
