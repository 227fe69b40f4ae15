package upgrade

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/signals"
	"github.com/preforkd/preforkd/master/upgrade/fault"
)

// The environment of a program that is executed by an upgrade.
const (
	envState = "PREFORKD_UPGRADE" // the number of the memfd
	// envOld is the number of the program before, as in the Header. It is there on the way to
	// a new program.
	envOld = "PREFORKD_UPGRADE_OLD"
	// envFailed says to the old program why it is executed again: STEP: REASON.
	envFailed = "PREFORKD_UPGRADE_FAILED"
)

// A Takeover is an upgrade as the program sees it that takes over. Until it is over,
// GoBack executes the program before it again.
type Takeover struct {
	Header Header
	State  *State
	// Descriptors are those that went over.
	Descriptors *carry.Descriptors
	// Failure is why another program has not taken over, if this is the one that was gone
	// back to.
	Failure *Failure

	memfd     int
	trace     *Trace // nil if there is none
	signals   *signals.Queue
	gcPercent int // of before; see Begin

	mu    sync.Mutex // guards what follows, and is held while the program before is executed
	step  Step
	over  bool
	undo  func() // may be nil
	timer *time.Timer
}

// A Failure is why an upgrade has failed.
type Failure struct {
	Step   Step
	Reason string
}

func (f *Failure) Error() string { return string(f.Step) + ": " + f.Reason }

// Executed reports whether an upgrade has executed this program. Then the caller calls
// Begin.
func Executed() bool {
	_, found := os.LookupEnv(envState)
	return found
}

// memoryLimit is how much memory a program may use that takes over before it collects
// garbage all the same, in bytes, with eight times the State more: a limit of the service
// would end it (memory.max in the kernel's cgroup-v2.rst).
const memoryLimit = 64 << 20

// inheritedFailure returns why this program is gone back to, or nil, and unsets the
// environment variable about it.
func inheritedFailure() *Failure {
	text, found := os.LookupEnv(envFailed)
	if !found {
		return nil
	}
	os.Unsetenv(envFailed)
	step, reason, _ := strings.Cut(text, ": ")
	return &Failure{Step(step), reason}
}

// Begin returns the upgrade by which this program was executed, and unsets the environment
// variables about it. It comes before anything is opened, but for the signals. If the
// State cannot be read, the program before is executed again.
func Begin(caught *signals.Queue) (*Takeover, error) {
	text := os.Getenv(envState)
	old, noOld := strconv.Atoi(os.Getenv(envOld))
	os.Unsetenv(envState)
	os.Unsetenv(envOld)
	memfd, err := strconv.Atoi(text)
	if err != nil {
		return nil, fmt.Errorf("%s=%q: must be the number of a descriptor", envState, text)
	}
	// Until it is known which descriptors went over, all that there are stay open on the way
	// back, too: they are as they were.
	t := &Takeover{memfd: memfd, signals: caught, step: StepLoad, Descriptors: carry.NewDescriptors()}
	t.Failure = inheritedFailure()
	defer t.Recover() // the caller has nothing yet to defer
	if t.Header.Old = carry.FD(old); noOld != nil {
		t.Header.Old = carry.None
	}
	data, err := readSealed(memfd)
	if err != nil {
		return nil, t.GoBack(err)
	}
	// The header first: it says how to go back, also to a program that has not said so in the
	// environment.
	h, _, err := split(data)
	if err != nil {
		return nil, t.GoBack(err)
	}
	t.Header = h
	// An *os.File that is garbage closes its descriptor, which may be one that the program
	// before needs again. So nothing is collected until this one serves.
	t.gcPercent = debug.SetGCPercent(-1)
	debug.SetMemoryLimit(int64(memoryLimit + 8*len(data)))
	t.timer = time.AfterFunc(Timeout, func() {
		t.goBack(fmt.Sprintf("it did not serve within %v", Timeout))
	})
	inherited, err := carry.Inherited(append(t.Header.Descriptors, memfd))
	if inherited != nil {
		t.Descriptors = inherited // with an error, too: some are to close on an exec by then
	}
	if err != nil {
		return nil, t.GoBack(err)
	}
	if t.trace, err = continueTrace(&t.Header, t.Descriptors); err != nil {
		return nil, t.GoBack(err)
	}
	if err := t.At(StepLoad); err != nil {
		return nil, t.GoBack(err)
	}
	if _, t.State, err = Decode(data); err != nil {
		return nil, t.GoBack(err)
	}
	return t, nil
}

// Generation returns the number of the program that takes over.
func (t *Takeover) Generation() int {
	if t.Failure != nil {
		return t.Header.Generation
	}
	return t.Header.Generation + 1
}

// ConfigFile returns the configuration file of this program in place of the one of the
// command line, or "".
func (t *Takeover) ConfigFile() string {
	if t.Failure != nil {
		return t.Header.ConfigBefore
	}
	return t.Header.Config
}

// At notes which step comes now. The error is one that a test wants.
func (t *Takeover) At(s Step) error {
	t.mu.Lock()
	t.step = s
	t.mu.Unlock()
	if t.Failure != nil {
		return nil // of the way back nothing is to fail
	}
	t.trace.at(s)
	return fault.At(string(s))
}

// GoBack executes the program before this one, because of an error. It returns only if
// that fails, or if there is none because this program is the one before; then the
// process cannot go on.
func (t *Takeover) GoBack(err error) error {
	return errors.Join(err, t.goBack(err.Error()))
}

// Recover goes back after a panic. It is to be deferred by the goroutine that takes over.
func (t *Takeover) Recover() {
	if p := recover(); p != nil {
		stack := debug.Stack()
		err := t.goBack(fmt.Sprintf("panic: %v", p))
		fmt.Fprintf(os.Stderr, "preforkd: %v\n%s", err, stack)
		panic(p)
	}
}

// OnGoBack has the program call f before the one before it is executed again: what it has
// made outside of the process is to go. f may be called on another goroutine.
func (t *Takeover) OnGoBack(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.undo = f
}

// undoTimeout is how long OnGoBack's function may take.
const undoTimeout = time.Second

// callUndo calls OnGoBack's function, if there is one. Nothing that it does keeps the
// process from being given back.
func (t *Takeover) callUndo() {
	if t.undo == nil {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = recover() }()
		t.undo()
	}()
	select {
	case <-done:
	case <-time.After(undoTimeout):
	}
}

func (t *Takeover) goBack(reason string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.over:
		return nil
	case t.Failure != nil:
		return fmt.Errorf("the way back has failed, too, at %s, after %w", t.step, t.Failure)
	case t.Header.Old == carry.None:
		return errors.New("there is no way back: the program before is not known")
	}
	failure := &Failure{t.step, OneLine(reason)}
	t.trace.failed(failure)
	t.callUndo()
	old := os.NewFile(uintptr(t.Header.Old), "program before")
	err := (&execution{
		program:     old,
		descriptors: t.Descriptors,
		memfd:       t.memfd,
		signals:     t.signals,
		failure:     failure,
	}).run()
	return fmt.Errorf("the way back has failed: %w", err)
}

// maxReason is the most bytes of a reason. All of a configuration's mistakes would not fit
// into an environment variable (execve(2), MAX_ARG_STRLEN).
const maxReason = 1024

// OneLine returns the beginning of a text, without what an environment variable or a line
// cannot have.
func OneLine(text string) string {
	if len(text) > maxReason {
		text = text[:maxReason] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, text)
}

// End ends the way back, because the program serves. It closes what nobody has taken, and
// returns what somebody should have.
func (t *Takeover) End() (untaken []int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	t.timer.Stop()
	debug.SetMemoryLimit(math.MaxInt64)
	debug.SetGCPercent(t.gcPercent)
	t.trace.Close()
	return slices.DeleteFunc(t.Descriptors.CloseUntaken(), func(fd int) bool {
		return fd == t.memfd || fd == int(t.Header.Old)
	})
}
