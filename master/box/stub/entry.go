package stub

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// An Entry is what a forked child does before it becomes the program of a worker.
// The steps are done in the order of the fields: what needs a privilege comes
// before the privileges are dropped, and the filter is last, so that it need not
// allow what the steps before it do. With its zero value a step is left out.
type Entry struct {
	// Report is the descriptor that a failure is written to: a unix datagram
	// socket that blocks. It gets FD_CLOEXEC first, so that the program does not
	// have it. A datagram socket knows no end of file: after a success nothing
	// arrives at the other end, and after a failure the datagram is there when
	// the process has ended.
	Report int
	// Self is a descriptor of the image, which gets FD_CLOEXEC as well, or 0 if the entry
	// is not executed by one.
	Self int

	Limits []Limit
	Nice   *int
	// IOPriority is the class and the level as in ioprio_set(2).
	IOPriority *int
	// Affinity is a mask of CPUs (sched_setaffinity(2)), the first CPU in the
	// lowest bit of the first byte.
	Affinity []byte

	// DropBounding are the capabilities that are taken from the bounding set.
	// That needs CAP_SETPCAP.
	DropBounding []int
	// SetCapabilities makes Capabilities (1<<CAP_KILL | ...) the permitted, the
	// effective, the inheritable and the ambient set. What is set here was
	// permitted before. A program of user 0 has the whole bounding set again
	// after execve, without no_new_privs (capabilities(7)).
	SetCapabilities bool
	Capabilities    uint64

	// ClearAmbient empties the ambient set alone: what the entry was given for its own
	// steps is not for the program.
	ClearAmbient bool

	// Directory is the working directory. It is entered with the rights that the
	// program has.
	Directory string

	NoNewPrivileges bool

	// Alarm is the end for reading of a pipe, opened for this process alone, or 0. The
	// process is killed when nobody has the other end any more (F_SETSIG in fcntl(2)), as
	// long as the program keeps the descriptor open, or a child of it.
	Alarm int

	// Filter is a program for seccomp(2), installed if it is not empty. It must
	// allow execve, write and exit_group where their fourth argument is Cookie, and
	// execveat where the sixth is. None of them has as many, so no program passes it
	// by accident. The cookie
	// should be random: a program that knows it passes the filter, too. It is in
	// the image, which therefore should not be readable in the box.
	//
	// When a filter is installed, the kernel tries it with the number of every
	// system call (seccomp_cache_prepare in kernel/seccomp.c). So its length
	// costs little, and the length of its paths much: a search tree of 300
	// comparisons is installed some ten times as fast as a row of them.
	Filter []unix.SockFilter
	Cookie uint64

	// Listener, if it is not 0, has the kernel make a listener of the filter
	// (seccomp_unotify(2)), and the entry send it to whoever reads Report, in a message
	// with this number (ParseListener). The filter must also allow dup3 and sendmsg
	// where their fourth argument is Cookie, which neither of them has. The listener takes
	// two descriptors until the program is executed, which does not have it.
	Listener uint32

	// Path is executed with the arguments and the environment that the entry was
	// itself given. It is not searched for.
	Path string
	// Program is a descriptor of what is executed in place of Path, or 0. It may be
	// opened with O_PATH, and gets FD_CLOEXEC, so that the program does not have it. It
	// must not be that of a script: the interpreter could not open it.
	Program int
}

// A Limit is what setrlimit(2) sets. unix.RLIM_INFINITY is no limit.
type Limit struct {
	Resource   int
	Soft, Hard uint64
}

// Image returns the executable file of the entry for this machine. The error says
// what cannot be put into one. Whether the kernel allows a step is seen when it
// runs.
func (e *Entry) Image() ([]byte, error) { return e.image(runtime.GOARCH) }

// image returns the executable file for a GOARCH.
func (e *Entry) image(goarch string) ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	p, err := newProgram(goarch)
	if err != nil {
		return nil, err
	}
	p.try(Step{Action: CloseReportOnExec}, "fcntl", value(e.Report), value(unix.F_SETFD), value(unix.FD_CLOEXEC))
	if e.Self > 0 {
		p.try(Step{Action: CloseSelfOnExec}, "fcntl", value(e.Self), value(unix.F_SETFD), value(unix.FD_CLOEXEC))
	}
	if e.Program > 0 {
		p.try(Step{Action: CloseProgramOnExec}, "fcntl", value(e.Program), value(unix.F_SETFD), value(unix.FD_CLOEXEC))
	}
	e.resources(p)
	e.privileges(p)
	if e.Directory != "" {
		p.try(Step{Action: ChangeDirectory}, "chdir", p.text(e.Directory))
	}
	if e.NoNewPrivileges {
		p.try(Step{Action: SetNoNewPrivileges}, "prctl", value(unix.PR_SET_NO_NEW_PRIVS), value(1), value(0), value(0), value(0))
	}
	if e.Alarm > 0 {
		e.setAlarm(p)
	}
	if len(e.Filter) > 0 {
		e.install(p)
	}
	if e.Program > 0 {
		p.try(Step{Action: Execute}, "execveat", value(e.Program), p.text(""), argv, envp, value(unix.AT_EMPTY_PATH), value(e.Cookie))
	} else {
		p.try(Step{Action: Execute}, "execve", p.text(e.Path), argv, envp, value(e.Cookie))
	}
	p.fail(e.Report, e.Cookie)
	return p.image(), nil
}

// setAlarm writes the steps that have the end of the pipe's other end kill the process. The
// signal is that of the open file, and its owner the process, whatever becomes of its pid.
func (e *Entry) setAlarm(p *program) {
	set := func(command int, argument operand) {
		p.try(Step{Action: SetAlarm}, "fcntl", value(e.Alarm), value(command), argument)
	}
	set(unix.F_SETSIG, value(unix.SIGKILL))
	p.call("getpid")
	p.code = append(p.code, p.machine.load(counter, callResult)...)
	set(unix.F_SETOWN, counter)
	set(unix.F_SETFL, value(unix.O_RDONLY|unix.O_NONBLOCK|unix.O_ASYNC))
}

// install writes the steps that install the filter, and send its listener.
func (e *Entry) install(p *program) {
	filter := e.filter(p)
	if e.Listener == 0 {
		p.try(Step{Action: InstallFilter}, "seccomp", value(unix.SECCOMP_SET_MODE_FILTER), value(0), filter)
		return
	}
	p.try(Step{Action: InstallFilter}, "seccomp", value(unix.SECCOMP_SET_MODE_FILTER), value(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER), filter)
	// The message is a constant, so the listener needs a number that is known before. The
	// kernel has given it one of the first four that neither Report, Program, Self nor Alarm
	// has, which follow each other.
	listener := e.Report + 5
	p.try(Step{Action: MoveListener}, "dup3", callResult, value(listener), value(unix.O_CLOEXEC), value(e.Cookie))
	p.try(Step{Action: SendListener}, "sendmsg", value(e.Report), listenerMessage(p, e.Listener, listener), value(unix.MSG_NOSIGNAL), value(e.Cookie))
}

// listenerMessage adds the message of a listener to the data, and returns the address of
// its struct msghdr (sendmsg(2)).
func listenerMessage(p *program, number uint32, listener int) value {
	rights := unix.UnixRights(listener)
	control := p.constant(rights)
	text := p.constant(binary.LittleEndian.AppendUint32(bytes.Clone(listenerMark), number))
	words := func(words ...uint64) (bytes []byte) {
		for _, w := range words {
			bytes = binary.LittleEndian.AppendUint64(bytes, w)
		}
		return bytes
	}
	vector := p.constant(words(uint64(text), listenerSize))
	// No address, the vector, the control message, no flags.
	return p.constant(words(0, 0, uint64(vector), 1, uint64(control), uint64(len(rights)), 0))
}

// resources writes the steps that set what the process may use.
func (e *Entry) resources(p *program) {
	for _, l := range e.Limits {
		// struct rlimit64 (prlimit(2)).
		limit := binary.LittleEndian.AppendUint64(nil, l.Soft)
		limit = binary.LittleEndian.AppendUint64(limit, l.Hard)
		p.try(Step{SetLimit, uint16(l.Resource)}, "prlimit64", value(0), value(l.Resource), p.constant(limit), value(0))
	}
	// In the three calls 0 is the calling process or thread, of which there is
	// one.
	if e.Nice != nil {
		p.try(Step{Action: SetNice}, "setpriority", value(unix.PRIO_PROCESS), value(0), value(*e.Nice))
	}
	if e.IOPriority != nil {
		const ioprioWhoProcess = 1
		p.try(Step{Action: SetIOPriority}, "ioprio_set", value(ioprioWhoProcess), value(0), value(*e.IOPriority))
	}
	if len(e.Affinity) > 0 {
		p.try(Step{Action: SetAffinity}, "sched_setaffinity", value(0), value(len(e.Affinity)), p.constant(e.Affinity))
	}
}

// privileges writes the steps that leave the capabilities that were asked for.
func (e *Entry) privileges(p *program) {
	for _, c := range e.DropBounding {
		p.try(Step{DropBounding, uint16(c)}, "prctl", value(unix.PR_CAPBSET_DROP), value(c), value(0), value(0), value(0))
	}
	ambient := func(s Step, operation, capability int) {
		p.try(s, "prctl", value(unix.PR_CAP_AMBIENT), value(operation), value(capability), value(0), value(0))
	}
	if !e.SetCapabilities {
		if e.ClearAmbient {
			ambient(Step{Action: ClearAmbient}, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0)
		}
		return
	}
	ambient(Step{Action: ClearAmbient}, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0)
	// struct __user_cap_header_struct, whose version the kernel writes where it
	// wants another: version and pid. The pid 0 is this process.
	p.store(unix.LINUX_CAPABILITY_VERSION_3)
	// Two of struct __user_cap_data_struct: effective, permitted, inheritable
	// (capset(2)).
	var sets []byte
	for _, half := range []uint32{uint32(e.Capabilities), uint32(e.Capabilities >> 32)} {
		for range 3 {
			sets = binary.LittleEndian.AppendUint32(sets, half)
		}
	}
	p.try(Step{Action: SetCapabilities}, "capset", stackTop, p.constant(sets))
	for c := range 64 {
		if e.Capabilities>>c&1 != 0 {
			ambient(Step{RaiseAmbient, uint16(c)}, unix.PR_CAP_AMBIENT_RAISE, c)
		}
	}
}

// filter adds the filter to the data, and returns the address of its struct
// sock_fprog (seccomp(2)).
func (e *Entry) filter(p *program) value {
	var instructions []byte
	for _, i := range e.Filter {
		instructions = binary.LittleEndian.AppendUint16(instructions, i.Code)
		instructions = append(instructions, i.Jt, i.Jf)
		instructions = binary.LittleEndian.AppendUint32(instructions, i.K)
	}
	header := binary.LittleEndian.AppendUint64(nil, uint64(len(e.Filter))) // 16 bits, and padding
	return p.constant(binary.LittleEndian.AppendUint64(header, uint64(p.constant(instructions))))
}

// check returns why the fields cannot be constants of an image.
func (e *Entry) check() error {
	for _, fd := range []int{e.Report, e.Self, e.Program} {
		if err := checkDescriptor(fd); err != nil {
			return err
		}
	}
	if e.Path == "" {
		return errors.New("the entry has no program to execute")
	}
	if err := checkText(e.Path, e.Directory); err != nil {
		return err
	}
	for _, l := range e.Limits {
		if l.Resource < 0 || l.Resource > math.MaxUint16 {
			return fmt.Errorf("there is no limit of resource %d", l.Resource)
		}
	}
	for _, c := range e.DropBounding {
		if c < 0 || c > math.MaxUint16 {
			return fmt.Errorf("there is no capability %d", c)
		}
	}
	// BPF_MAXINSNS (include/uapi/linux/bpf_common.h).
	const maxInstructions = 4096
	if n := len(e.Filter); n > maxInstructions {
		return fmt.Errorf("the system call filter has %d instructions, and the kernel takes %d", n, maxInstructions)
	}
	return nil
}

// checkDescriptor returns why a number is no descriptor.
func checkDescriptor(fd int) error {
	if fd < 0 || fd > math.MaxInt32 {
		return fmt.Errorf("%d is no descriptor", fd)
	}
	return nil
}

// checkText returns why a string cannot be passed to the kernel.
func checkText(texts ...string) error {
	for _, t := range texts {
		if strings.ContainsRune(t, 0) {
			return fmt.Errorf("%q has a zero byte", t)
		}
	}
	return nil
}
