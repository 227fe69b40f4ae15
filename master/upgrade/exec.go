package upgrade

import (
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/osthread"
	"github.com/preforkd/preforkd/master/signals"
)

// An execution is the exec of a program that takes over.
type execution struct {
	program     *os.File
	descriptors *carry.Descriptors // that go over, the memfd among them
	memfd       int
	signals     *signals.Queue
	own         *os.File // the program that executes it, nil on the way back
	failure     *Failure // of that program, on the way back
}

// run executes the program. It returns only on failure, and then nothing has changed.
//
// Signals come first: those that the process has had and nobody has acted on are kept by
// the kernel from then on, for the program that takes over. The fork lock comes last, so
// that no child is between fork and exec, and gets descriptors that are meant for the
// program.
func (e *execution) run() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	held, err := e.signals.Hold()
	if err != nil {
		return err
	}
	defer held.Release()
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	if err := e.descriptors.Open(); err != nil {
		return err
	}
	defer func() { _ = e.descriptors.Close() }()
	return osthread.ExecFile(e.program, os.Args, append(e.environment(), held.Environment()))
}

func (e *execution) environment() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return name == envState || name == envOld || name == envFailed
	})
	env = append(env, envState+"="+strconv.Itoa(e.memfd))
	if e.own != nil {
		env = append(env, envOld+"="+strconv.Itoa(int(e.own.Fd())))
	}
	if e.failure != nil {
		env = append(env, envFailed+"="+e.failure.Error())
	}
	return env
}

// Execute writes a State into a sealed memfd and executes a program that takes over. It
// returns only on failure, and then nothing has changed. The caller makes sure that
// nothing happens any more. d has the descriptors of the State, of which h says nothing
// yet. trace goes over, too.
func Execute(program *os.File, h Header, s *State, d *carry.Descriptors, trace *Trace, caught *signals.Queue) error {
	own, err := Own()
	if err != nil {
		return err
	}
	defer own.Close()
	memfd, err := newMemfd()
	if err != nil {
		return err
	}
	defer memfd.Close()
	h.Old = d.Keep(int(own.Fd()))
	h.Trace = d.Keep(int(trace.File().Fd()))
	trace.at(StepExec)
	h.Descriptors = d.Numbers()
	data, err := Encode(&h, s)
	if err != nil {
		return err
	}
	if err := writeSealed(memfd, data); err != nil {
		return err
	}
	d.Keep(int(memfd.Fd()))
	if err := (&execution{program: program, descriptors: d, memfd: int(memfd.Fd()), signals: caught, own: own}).run(); err != nil {
		return err
	}
	return unix.ENOEXEC // execve(2) does not return otherwise
}
