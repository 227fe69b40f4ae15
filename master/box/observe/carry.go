package observe

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/preforkd/preforkd/master/box/seccomp"
	"github.com/preforkd/preforkd/master/carry"
)

// What is not carried: Learners, and what Allows says to them. Nobody learns across an
// upgrade, and what is left of a Subject decides as before.

// A State is an Observer in the state that a master hands to the next one.
type State struct {
	// Next is the newest number of a Subject.
	Next      uint32           `json:"next"`
	Subjects  []SubjectState   `json:"subjects"`
	Processes []ProcessState   `json:"processes"`
	Listeners []ListenerState  `json:"listeners"`
	Condemned []CondemnedState `json:"condemned"`
}

// A SubjectState is a Subject of which listeners may arrive, or one of those that have
// arrived.
type SubjectState struct {
	Number uint32 `json:"number"` // 0: no listeners arrive any more
	Kill   bool   `json:"kill"`
	// Judge is the program that the Judge is made of, as struct sock_filter (linux/filter.h)
	// of 8 bytes in little-endian order. It is empty without one.
	Judge []byte `json:"judge"`
}

// A ProcessState is what is known of a process.
type ProcessState struct {
	PID    int      `json:"pid"` // 0: nobody can ask for it any more
	Denied []string `json:"denied"`
	Killed bool     `json:"killed"`
	Over   bool     `json:"over"`
}

// A ListenerState is a listener.
type ListenerState struct {
	FD      carry.FD `json:"fd"`
	Subject int      `json:"subject"` // its place in State.Subjects
	Process int      `json:"process"` // its place in State.Processes
}

// A CondemnedState is a process that is killed if it does not end in time.
type CondemnedState struct {
	PIDFD carry.FD     `json:"pidfd"`
	Until carry.Moment `json:"until"`
}

// Pause has the Observer stand still: it has answered every call that it has received, and
// touches no process, until Resume. It waits as long as one answer takes.
func (o *Observer) Pause() {
	o.turn.Lock()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.paused = true
}

// Resume ends what Pause, NewPaused or Restore has begun. On error some listeners are not
// served.
func (o *Observer) Resume() error {
	o.mu.Lock()
	o.paused = false
	var errs []error
	if !o.watched {
		o.watched = true
		errs = append(errs, o.watch(o.arrivals))
		for fd := range o.listeners {
			errs = append(errs, o.watch(fd))
		}
		for pidfd, c := range o.condemned {
			o.condemned[pidfd] = o.condemn(pidfd, c.until)
		}
	}
	o.mu.Unlock()
	o.turn.Unlock()
	return errors.Join(errs...)
}

// Export returns the state of the Observer, which must be paused.
func (o *Observer) Export(d *carry.Descriptors) State {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := State{Next: o.next}
	subjects, processes := map[*Subject]int{}, map[*told]int{}
	addSubject := func(number uint32, one *Subject) {
		subjects[one] = len(s.Subjects)
		s.Subjects = append(s.Subjects, SubjectState{number, one.Kill, one.Judge.Export()})
	}
	addProcess := func(pid int, t *told) {
		processes[t] = len(s.Processes)
		s.Processes = append(s.Processes, ProcessState{pid, slices.Clone(t.denied), t.killed, t.over})
	}
	for _, number := range slices.Sorted(maps.Keys(o.subjects)) {
		addSubject(number, o.subjects[number])
	}
	for _, pid := range slices.Sorted(maps.Keys(o.processes)) {
		addProcess(pid, o.processes[pid])
	}
	for _, fd := range slices.Sorted(maps.Keys(o.listeners)) {
		l := o.listeners[fd]
		if _, known := subjects[l.subject]; !known {
			addSubject(0, l.subject)
		}
		if _, known := processes[l.told]; !known {
			addProcess(0, l.told)
		}
		s.Listeners = append(s.Listeners, ListenerState{d.Keep(fd), subjects[l.subject], processes[l.told]})
	}
	for _, pidfd := range slices.Sorted(maps.Keys(o.condemned)) {
		s.Condemned = append(s.Condemned, CondemnedState{d.Keep(pidfd), carry.At(o.condemned[pidfd].until)})
	}
	return s
}

// Restore makes an Observer again, with what New is given. It stands still, and touches no
// descriptor, until Resume.
func Restore(s *State, d *carry.Descriptors, arrivals int, arrived func()) (*Observer, error) {
	o, err := NewPaused(arrivals, arrived)
	if err != nil {
		return nil, err
	}
	if err := o.restore(s, d); err != nil {
		o.listeners, o.condemned = nil, nil // which are not this program's to end
		o.Close()
		return nil, fmt.Errorf("restore who observes system calls: %w", err)
	}
	return o, nil
}

func (o *Observer) restore(s *State, d *carry.Descriptors) error {
	o.next = s.Next
	subjects := make([]*Subject, 0, len(s.Subjects))
	for _, one := range s.Subjects {
		judge, err := seccomp.RestoreJudge(one.Judge)
		if err != nil {
			return err
		}
		subject := &Subject{Kill: one.Kill, Judge: judge}
		subjects = append(subjects, subject)
		if one.Number == 0 {
			continue
		}
		if o.subjects[one.Number] != nil {
			return fmt.Errorf("two boxes have the number %d", one.Number)
		}
		o.subjects[one.Number] = subject
	}
	processes := make([]*told, 0, len(s.Processes))
	for _, one := range s.Processes {
		t := &told{denied: slices.Clone(one.Denied), killed: one.Killed, over: one.Over}
		processes = append(processes, t)
		if one.PID == 0 {
			continue
		}
		if o.processes[one.PID] != nil {
			return fmt.Errorf("two processes have the pid %d", one.PID)
		}
		o.processes[one.PID] = t
	}
	for _, one := range s.Listeners {
		if one.Subject < 0 || one.Subject >= len(subjects) || one.Process < 0 || one.Process >= len(processes) {
			return fmt.Errorf("listener %d: its box %d or its process %d is not known", one.FD, one.Subject, one.Process)
		}
		fd, err := d.Take(one.FD)
		if err == nil && fd < 0 {
			err = errors.New("it is not open")
		}
		if err != nil {
			return fmt.Errorf("listener: %w", err)
		}
		o.listeners[fd] = &listener{fd, subjects[one.Subject], processes[one.Process]}
	}
	for _, one := range s.Condemned {
		pidfd, err := d.Take(one.PIDFD)
		if err == nil && pidfd < 0 {
			err = errors.New("it is not open")
		}
		if err != nil {
			return fmt.Errorf("process that is to end: %w", err)
		}
		o.condemned[pidfd] = condemned{until: one.Until.Time()}
	}
	return nil
}

// Subject returns the Subject with a number of which listeners may arrive, or nil.
func (o *Observer) Subject(number uint32) *Subject {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.subjects[number]
}
