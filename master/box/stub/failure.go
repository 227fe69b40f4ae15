package stub

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// ExitFailed is the exit code of an Entry or an Init that has reported a failure.
// Shells use 126 and 127 for programs that cannot be executed, and 128 and more
// for signals; programs rarely use codes just below. A program may still exit
// with it: only the report says for sure.
const ExitFailed = 117

// An Action is what a step does.
type Action uint16

// What Entry does, in this order, and then Init. The numbers are part of the
// messages, and of what a master hands to the next one (upgrade in place), which may
// also get messages of entries that the first has started: a number never gets another
// meaning.
const (
	CloseReportOnExec Action = iota + 1
	CloseSelfOnExec
	CloseProgramOnExec
	SetLimit // Step.Number is the resource (RLIMIT_NOFILE ...)
	SetNice
	SetIOPriority
	SetAffinity
	DropBounding // Step.Number is the capability
	ClearAmbient
	SetCapabilities
	RaiseAmbient // Step.Number is the capability
	ChangeDirectory
	SetNoNewPrivileges
	InstallFilter
	MoveListener
	SendListener
	Execute

	CheckFirst
	SetHostname
	MakeMount // Step.Number is the place in Init.Mounts
	IgnoreChildren
	CloseDescriptors
	SendReady

	SetAlarm // of an Entry
	endOfActions
)

// A Step is one step of a stub. Number tells steps with the same action apart.
type Step struct {
	Action Action
	Number uint16
}

// limitNames are the names of resources, by number. They are the same on both
// architectures (include/uapi/asm-generic/resource.h).
var limitNames = [...]string{
	"cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile",
	"memlock", "as", "locks", "sigpending", "msgqueue", "nice", "rtprio", "rttime",
}

// String returns the step in words, as a verb phrase.
func (s Step) String() string {
	switch s.Action {
	case CloseReportOnExec:
		return "mark the report descriptor close-on-exec"
	case CloseSelfOnExec:
		return "mark the descriptor of the entry close-on-exec"
	case CloseProgramOnExec:
		return "mark the descriptor of the program close-on-exec"
	case SetLimit:
		if int(s.Number) < len(limitNames) {
			return "set limit-" + limitNames[s.Number]
		}
		return fmt.Sprintf("set the limit of resource %d", s.Number)
	case SetNice:
		return "set the nice value"
	case SetIOPriority:
		return "set the I/O priority"
	case SetAffinity:
		return "set the CPU affinity"
	case DropBounding:
		return fmt.Sprintf("drop capability %d from the bounding set", s.Number)
	case ClearAmbient:
		return "clear the ambient capabilities"
	case SetCapabilities:
		return "set the capabilities"
	case RaiseAmbient:
		return fmt.Sprintf("raise ambient capability %d", s.Number)
	case ChangeDirectory:
		return "change to the working directory"
	case SetNoNewPrivileges:
		return "set no_new_privs"
	case InstallFilter:
		return "install the system call filter"
	case MoveListener:
		return "give the listener of the filter its number"
	case SendListener:
		return "send the listener of the filter"
	case Execute:
		return "execute the program"
	case CheckFirst:
		return "be the first process of a pid namespace"
	case SetHostname:
		return "set the host name"
	case MakeMount:
		return fmt.Sprintf("make mount %d of the cell", s.Number)
	case IgnoreChildren:
		return "ignore SIGCHLD"
	case CloseDescriptors:
		return "close inherited descriptors"
	case SendReady:
		return "say that the cell is ready"
	case SetAlarm:
		return "be killed with the master"
	}
	return fmt.Sprintf("step %d", s.Action)
}

// code returns a step as a stub keeps it in a register. It is also the first half
// of a message.
func (s Step) code() uint64 { return uint64(s.Action) | uint64(s.Number)<<16 }

// A Failure is what a stub says about a step that has failed. It is an error,
// and errors.Is finds the errno in it.
type Failure struct {
	Step  Step
	Errno unix.Errno
}

func (f Failure) Error() string { return f.Step.String() + ": " + f.Errno.Error() }

// Unwrap returns the errno.
func (f Failure) Unwrap() error { return f.Errno }

// failureSize is the size of a message: the action and the number, 16 bits each,
// and the errno in 32 bits, in the byte order of both architectures.
const failureSize = 8

// listenerMark begins the message of a listener: where a failure has its action, it has 0.
// The number follows.
var listenerMark = []byte{0, 0, 0, 0}

const listenerSize = 8

// ParseListener reads the message that an Entry sends with a listener. It reports false
// for any other.
func ParseListener(datagram []byte) (number uint32, ok bool) {
	if len(datagram) != listenerSize || !bytes.HasPrefix(datagram, listenerMark) {
		return 0, false
	}
	return binary.LittleEndian.Uint32(datagram[len(listenerMark):]), true
}

// maxErrno is the highest number that the kernel returns as an error (MAX_ERRNO
// in include/linux/err.h).
const maxErrno = 4095

// ParseFailure reads the datagram of an Entry. It returns an error if it is not
// one.
func ParseFailure(datagram []byte) (Failure, error) {
	if len(datagram) != failureSize {
		return Failure{}, fmt.Errorf("the report has %d bytes, want %d", len(datagram), failureSize)
	}
	f := Failure{
		Step: Step{
			Action: Action(binary.LittleEndian.Uint16(datagram)),
			Number: binary.LittleEndian.Uint16(datagram[2:]),
		},
		Errno: unix.Errno(binary.LittleEndian.Uint32(datagram[4:])),
	}
	if f.Step.Action == 0 || f.Step.Action >= endOfActions {
		return Failure{}, fmt.Errorf("the report names step %d, which does not exist", f.Step.Action)
	}
	if f.Errno == 0 || f.Errno > maxErrno {
		return Failure{}, fmt.Errorf("the report has errno %d, which does not exist", f.Errno)
	}
	return f, nil
}
