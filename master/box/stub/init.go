package stub

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"runtime"

	"golang.org/x/sys/unix"
)

// An Init is the program of pid 1 of a cell, and as no other process it fails.
// While it lives, the pid namespace lives, and when it is killed, everything in there
// is, too. The kernel protects it from signals of its namespace
// (pid_namespaces(7)). To kill what is left, it needs CAP_KILL or the user of the
// others.
//
// Orphans leave no zombie. A child of the master does, in the cell, too, until the
// master has waited for it: so long the cell is not empty, and the Init cannot
// end (zap_pid_ns_processes in kernel/pid_namespace.c). A program in the cell can
// make such children of the master that the master has not started (CLONE_PARENT
// of clone(2)).
type Init struct {
	// Control is the descriptor of a SOCK_SEQPACKET socket that blocks. All
	// others are closed.
	Control int
	// Hostname is set if it is not empty.
	Hostname string
	Mounts   []Mount
	// Directories and IPC are what the answer to a RequestCheck tells of, see Seen.
	Directories []string
	IPC         bool
	// EndWithMaster says that what is in the namespace ends at end of file. Otherwise the
	// Init waits for it.
	EndWithMaster bool

	killNaps uint32 // 0: defaultKillNaps; for tests
}

// A Mount is one call of mount(2). An empty string is passed as a null
// pointer. Target exists.
type Mount struct {
	Source, Target, Type string
	Flags                uintptr
	Data                 string
}

// What the master asks on the control socket. After end of file, and after anything
// else, the Init ends as soon as nothing is left in the pid namespace: the
// connections of a master that was killed may finish, unless Init.EndWithMaster.
const (
	RequestCheck = 'c' // is anything else left in the pid namespace, or does anybody use a mount of the cell? And what is there? See ParseSeen
	RequestLook  = 'o' // the same, but that nobody uses a mount
	RequestKill  = 'k' // kill all else there, and wait until nothing is left
	RequestRenew = 'r' // if nothing is left, mount what is a tmpfs anew
)

// How an Init answers: it is empty, and what was asked is done; or not. A process that waits to be reaped is something that is
// left, also if its parent is outside of the namespace.
const (
	answerEmpty = 'e'
	answerLeft  = 'l'
)

// How long a RequestKill waits: as many naps of 1 ms, each after another try. A
// process in an uninterruptible sleep may take longer.
const (
	defaultKillNaps = 5000
	napNanoseconds  = 1_000_000
	// longNapNanoseconds is how often an Init without a master looks whether it is
	// alone.
	longNapNanoseconds = 100_000_000
)

// noProcess is what kill returns when there is nothing to kill.
const noProcess = -int8(unix.ESRCH)

// sigIgnore is SIG_IGN (include/uapi/asm-generic/signal-defs.h).
const sigIgnore = 1

// ready is the message of an Init that is ready. Where a failure has its step, it
// has 0, which is none.
var ready = make([]byte, failureSize)

// ParseReady reads the first message of an Init. It returns nil if the Init is
// ready, and the Failure otherwise, or what is wrong with the message.
func ParseReady(message []byte) error {
	if bytes.Equal(message, ready) {
		return nil
	}
	failure, err := ParseFailure(message)
	if err != nil {
		return err
	}
	return failure
}

// ParseAnswer reads the answer to a RequestKill or a RequestRenew. It returns whether nothing but pid 1
// is left in the pid namespace.
func ParseAnswer(message []byte) (empty bool, err error) {
	if len(message) == 1 {
		switch message[0] {
		case answerEmpty:
			return true, nil
		case answerLeft:
			return false, nil
		}
	}
	return false, fmt.Errorf("an answer of %d bytes is none: %q", len(message), message)
}

// Image returns the executable file of the Init for this machine.
func (i *Init) Image() ([]byte, error) { return i.image(runtime.GOARCH) }

// image returns the executable file for a GOARCH.
func (i *Init) image(goarch string) ([]byte, error) {
	if err := i.check(); err != nil {
		return nil, err
	}
	p, err := newProgram(goarch)
	if err != nil {
		return nil, err
	}
	i.checkFirst(p)
	if i.Hostname != "" {
		p.try(Step{Action: SetHostname}, "sethostname", p.text(i.Hostname), value(len(i.Hostname)))
	}
	for n, m := range i.Mounts {
		p.try(Step{MakeMount, uint16(n)}, "mount", p.mountArguments(&m)...)
	}
	// struct sigaction of the kernel: handler, flags, restorer and mask, of 8
	// bytes each (include/linux/signal_types.h). With SIG_IGN children that end
	// are no zombies (sigaction(2), SA_NOCLDWAIT).
	action := binary.LittleEndian.AppendUint64(nil, sigIgnore)
	action = append(action, make([]byte, 24)...)
	p.try(Step{Action: IgnoreChildren}, "rt_sigaction", value(unix.SIGCHLD), p.constant(action), value(0), value(8))
	i.closeOthers(p)
	p.try(Step{Action: SendReady}, "write", value(i.Control), p.constant(ready), value(failureSize))
	i.serve(p)
	p.fail(i.Control, 0)
	return p.image(), nil
}

// pointer returns the address of a string, null for an empty one.
func (p *program) pointer(s string) value {
	if s == "" {
		return 0
	}
	return p.text(s)
}

func (p *program) mountArguments(m *Mount) []operand {
	return []operand{p.pointer(m.Source), p.pointer(m.Target), p.pointer(m.Type), value(m.Flags), p.pointer(m.Data)}
}

// checkFirst writes the step that ends a process which is not pid 1. In the pid
// namespace of the machine RequestKill would kill all that runs there.
func (i *Init) checkFirst(p *program) {
	const first label = "first"
	p.set(step, Step{Action: CheckFirst}.code())
	p.call("getpid")
	p.branchIfResult(equal, 1, first)
	result := -int64(unix.EPERM)
	p.set(callResult, uint64(result))
	p.branch(always, failed)
	p.place(first)
}

// closeOthers writes the steps that close every descriptor but the control socket.
func (i *Init) closeOthers(p *program) {
	closeRange := func(first, last int) {
		p.try(Step{Action: CloseDescriptors}, "close_range", value(first), value(last), value(0))
	}
	if i.Control > 0 {
		closeRange(0, i.Control-1)
	}
	closeRange(i.Control+1, math.MaxUint32)
}

// serve writes the loop that answers requests.
func (i *Init) serve(p *program) {
	const (
		serve, check, look, see, kill, again, renew, left, empty, end, gone label = "serve", "check", "look", "see", "kill", "again", "renew", "left", "empty", "end", "gone"
	)
	everyone := value(math.MaxUint64) // pid -1: all of the namespace but pid 1
	timespec := func(nanoseconds uint64) value {
		return p.constant(binary.LittleEndian.AppendUint64(make([]byte, 8), nanoseconds))
	}
	nap, longNap := timespec(napNanoseconds), timespec(longNapNanoseconds)

	p.place(serve)
	p.call("read", value(i.Control), stackTop, value(1))
	p.branchIfResult(lessOrEqual, 0, end)
	p.branchIfTop(RequestCheck, check)
	p.branchIfTop(RequestLook, look)
	p.branchIfTop(RequestKill, kill)
	p.branchIfTop(RequestRenew, renew)
	p.place(end)
	if !i.EndWithMaster {
		p.call("kill", everyone, value(0))
		p.branchIfResult(equal, noProcess, gone)
		p.call("nanosleep", longNap, value(0))
		p.branch(always, end)
	}
	p.place(gone)
	p.exit(0, 0)

	alone := func() {
		p.call("kill", everyone, value(0))
		p.branchIfResult(notEqual, noProcess, left)
	}
	p.place(check)
	alone() // nobody makes another a user of a mount from now on
	i.inUse(p, left)
	p.branch(always, see)
	p.place(look)
	alone()
	p.place(see)
	if size := i.answerSize(); size > 0 {
		i.look(p, left)
		p.call("write", value(i.Control), below(size), value(size))
		p.branch(always, serve)
	} else {
		p.branch(always, empty)
	}
	p.place(left)
	p.call("write", value(i.Control), p.constant([]byte{answerLeft}), value(1))
	p.branch(always, serve)
	p.place(empty)
	p.call("write", value(i.Control), p.constant([]byte{answerEmpty}), value(1))
	p.branch(always, serve)

	p.place(kill)
	p.set(counter, uint64(cmp.Or(i.killNaps, defaultKillNaps)))
	p.place(again)
	// Each time anew: a process may have entered the namespace meanwhile.
	p.call("kill", everyone, value(unix.SIGKILL))
	p.branchIfResult(equal, noProcess, empty)
	p.call("nanosleep", nap, value(0))
	p.repeat(again)
	p.branch(always, left)

	p.place(renew)
	alone()
	for _, m := range i.Mounts {
		if m.Type != "tmpfs" {
			continue
		}
		p.call("umount2", p.pointer(m.Target), value(unix.MNT_DETACH))
		p.branchIfResult(less, 0, left)
		p.call("mount", p.mountArguments(&m)...)
		p.branchIfResult(less, 0, left)
	}
	p.branch(always, empty)
}

// check returns why the fields cannot be constants of an image.
func (i *Init) check() error {
	if err := checkDescriptor(i.Control); err != nil {
		return err
	}
	if n := len(i.Mounts); n > math.MaxUint16 {
		return fmt.Errorf("%d mounts are too many", n)
	}
	for _, m := range i.Mounts {
		if err := checkText(m.Source, m.Target, m.Type, m.Data); err != nil {
			return err
		}
	}
	if n := len(i.Directories); n > maxDirectories {
		return fmt.Errorf("%d directories to look at are more than %d", n, maxDirectories)
	}
	return checkText(append([]string{i.Hostname}, i.Directories...)...)
}
