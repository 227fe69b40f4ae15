package upgrade

import (
	"fmt"
	"os"
	"time"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/osthread"
	"github.com/preforkd/preforkd/master/service"
)

// A Replaced is the master that is to be replaced. OnLoop and ServeOperators are called off
// the loop, the other methods by what OnLoop runs.
type Replaced interface {
	// OnLoop runs f between two events of the master's loop, when no reload is under way,
	// and returns its error.
	OnLoop(f func() error) error
	InForce() []*service.Service
	// Describe returns the state of the master, which goes on.
	Describe(specs *service.SpecRecorder) (*State, error)
	// Settle does what can be done ahead of the pause: descriptors are where they have to
	// be to go over, and new operators are served no more. The function that it returns
	// waits until those have their answers who have asked, and is called off the loop.
	Settle() (wait func(), err error)
	// ServeOperators has them be served again.
	ServeOperators()
	// HandOver executes the program. It returns only on failure, with the step, and then the
	// master goes on.
	HandOver(a *Attempt, program *os.File, h Header) (Step, error)
}

// An Attempt is an upgrade under way, from the side of the program that is to be
// replaced.
type Attempt struct {
	Request control.UpgradeRequest
	Path    string // of the program
	Version string // of the program, when it has said so
	// Specs are those of the state. They are used on the loop only.
	Specs service.SpecRecorder

	begun   time.Time
	record  Record // as it is when the attempt begins
	waiter  *control.Waiter
	workers int // how many would go over, as of the rehearsal
	dropped []string
}

// NewAttempt returns an attempt that begins now. waiter is the client that waits for its
// outcome, nil if nobody does.
func NewAttempt(r control.UpgradeRequest, waiter *control.Waiter) *Attempt {
	return &Attempt{Request: r, waiter: waiter, begun: time.Now()}
}

// Begin notes the attempt in the record of the master. It is an error if another one is
// under way.
func (a *Attempt) Begin(r *Record) error {
	if err := r.Begin(); err != nil {
		return err
	}
	a.Path, a.record = r.Binary(a.Request.Binary), *r
	return nil
}

// IsAwaited reports whether a client waits for the outcome.
func (a *Attempt) IsAwaited() bool { return a.waiter != nil }

// Run goes through the steps. It returns when one has failed, or with Check after the
// rehearsal.
func (a *Attempt) Run(m Replaced, rehearses func(pid int)) (control.Upgraded, *Failure) {
	binary, err := openPatiently(a.Path)
	if err != nil {
		return failed(StepBinary, err)
	}
	defer binary.Close()
	format, answer, step, err := a.rehearse(m, binary, rehearses)
	if err != nil {
		return failed(step, err)
	}
	if answer.Error != "" {
		return failed(StepRehearsal, fmt.Errorf("%s: %s", answer.Step, answer.Error))
	}
	if a.Request.Check {
		return control.Upgraded{
			From: ipc.Version, To: a.Version, Generation: a.record.Generation() + 1, Check: true,
			Workers: a.workers, Dropped: a.dropped,
		}, nil
	}
	step, err = a.exec(m, binary, format)
	return failed(step, err)
}

func failed(step Step, err error) (control.Upgraded, *Failure) {
	return control.Upgraded{}, &Failure{Step: step, Reason: OneLine(err.Error())}
}

// rehearse has the program rehearse on a copy of the state.
func (a *Attempt) rehearse(m Replaced, binary *os.File, rehearses func(pid int)) (format int, said Answer, step Step, err error) {
	r, err := Rehearse(binary, a.Path, false, rehearses)
	if err != nil {
		return 0, said, StepRehearsal, err
	}
	defer r.End()
	a.Version = r.Version
	if format, err = r.Format(); err != nil {
		return 0, said, StepRehearsal, err
	}
	h := a.header(format)
	if err := a.recordSpecs(m); err != nil {
		return 0, said, StepExport, err
	}
	var s *State
	if err := m.OnLoop(func() (err error) {
		if s, err = m.Describe(&a.Specs); err == nil {
			a.workers, a.dropped = len(s.Workers.Workers), s.Master.Dropped
		}
		return err
	}); err != nil {
		return 0, said, StepExport, err
	}
	data, err := Encode(&h, s)
	if err != nil {
		return 0, said, StepExport, err
	}
	if said, err = r.Run(data); err == nil && said.Error == "" {
		err = rehearseWayBack(data, rehearses)
	}
	return format, said, StepRehearsal, err
}

// rehearseWayBack has this program rehearse that the process is given back to it. What its
// configuration names may have gone since.
func rehearseWayBack(data []byte, rehearses func(pid int)) error {
	own, err := Own()
	if err != nil {
		return err
	}
	defer own.Close()
	r, err := Rehearse(own, "this program", true, rehearses)
	if err != nil {
		return fmt.Errorf("way back: %w", err)
	}
	said, err := r.Run(data)
	switch {
	case err != nil:
		return fmt.Errorf("way back: %w", err)
	case said.Error != "":
		return fmt.Errorf("there would be no way back: %s: %s", said.Step, said.Error)
	}
	return nil
}

// recordBatch is how many Specs are recorded at a time while the loop waits.
const recordBatch = 64

// recordSpecs records the Specs in force. There may be thousands, and accepting goes on
// meanwhile.
func (a *Attempt) recordSpecs(m Replaced) error {
	for done := 0; ; done += recordBatch {
		more := true
		if err := m.OnLoop(func() error {
			inForce := m.InForce()
			if more = done < len(inForce); more {
				for _, svc := range inForce[done:min(done+recordBatch, len(inForce))] {
					a.Specs.Record(svc)
				}
			}
			return nil
		}); err != nil || !more {
			return err
		}
	}
}

// hungTime is how long a thread must have waited to count as one that hangs.
const hungTime = 3 * time.Second

// exec executes the program. It returns only on failure.
func (a *Attempt) exec(m Replaced, binary *os.File, format int) (step Step, err error) {
	step = StepExport
	// It would never take the signals by which all threads come to stand still.
	if hung, err := osthread.Hung(hungTime); err != nil {
		return step, err
	} else if hung != 0 {
		return step, fmt.Errorf("thread %d hangs in the kernel, in a file system that does not answer", hung)
	}
	var settle func()
	if err := m.OnLoop(func() (err error) {
		settle, err = m.Settle()
		return err
	}); err != nil {
		return step, err
	}
	settle() // operators who have asked already get their answers
	defer m.ServeOperators()
	err = m.OnLoop(func() error {
		step, err = m.HandOver(a, binary, a.header(format))
		return err
	})
	return step, err
}

// header returns the header of a state that is made now.
func (a *Attempt) header(format int) Header {
	h := a.record.Header(a.Request.Config, a.begun, time.Now())
	h.Format, h.To = format, a.Version
	return h
}

// DetachWaiter has the connection of the client that waits go over, if there is one.
func (a *Attempt) DetachWaiter(d *carry.Descriptors) (carry.FD, error) {
	if a.waiter == nil {
		return carry.None, nil
	}
	fd, err := a.waiter.Detach()
	return d.Keep(fd), err
}
