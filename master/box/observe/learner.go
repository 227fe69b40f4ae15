package observe

import (
	"maps"
	"slices"
	"sync"

	"github.com/preforkd/preforkd/master/box/seccomp"
	"github.com/preforkd/preforkd/master/config"
)

// A Learner collects what the processes of a Subject use. Its zero value is ready.
type Learner struct {
	mu        sync.Mutex // guards what follows
	processes int
	calls     map[string]bool
	families  map[string]bool
	needs     map[string]bool // keys of restrictions that must be false
	refused   map[string]uint64
}

// maxFamilies bounds the families of sockets that a Learner notes, of used and of denied
// ones: a program may try any number.
const maxFamilies = 64

// A Result is what a Learner knows. All lists are sorted.
type Result struct {
	Processes int // that have begun, without those that they have started
	// Calls are the system calls that were used and that not every list has.
	Calls []string
	// Families are those of sockets that were made. AnyFamily says that sockets may have
	// been made that nobody has seen (io_uring(7)).
	Families  []string
	AnyFamily bool
	// Needs are the keys of seccomp.Restrictions that must not be set.
	Needs []string
	// Denied are calls that were denied, and how often each was. Of one whose arguments
	// were the reason, they are the first word, and then come the arguments.
	Denied map[string]uint64
}

// olderCalls are the calls that programs use where a newer one fails with ENOSYS, as it
// does with a restriction whose argument is in memory.
var olderCalls = map[string]string{"clone3": "clone", "openat2": "openat", "sched_setattr": "sched_setscheduler"}

// Result returns what is known so far.
func (l *Learner) Result() Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := Result{Processes: l.processes, Denied: maps.Clone(l.refused), AnyFamily: l.needs[seccomp.KeyAddressFamilies]}
	calls := maps.Clone(l.calls)
	for name := range l.calls {
		if older := olderCalls[name]; older != "" {
			calls[older] = true
		}
	}
	needs := maps.Clone(l.needs)
	delete(needs, seccomp.KeyAddressFamilies)
	r.Calls, r.Families, r.Needs = sorted(calls), sorted(l.families), sorted(needs)
	return r
}

func sorted(set map[string]bool) []string {
	names := slices.AppendSeq([]string{}, maps.Keys(set))
	slices.Sort(names)
	return names
}

// began notes a process.
func (l *Learner) began() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.processes++
}

// used notes a call that has gone on.
func (l *Learner) used(c *systemCall, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !seccomp.IsDefault(name) {
		put(&l.calls, name)
	}
	isSocket := makesSocket(name)
	if isSocket && len(l.families) < maxFamilies {
		if family, known := familyOf(c); known {
			put(&l.families, family)
		}
	}
	for _, key := range seccomp.RefusedBy(name, c.Arguments) {
		if key != seccomp.KeyAddressFamilies || !isSocket {
			put(&l.needs, key)
		}
	}
}

// answered notes a call that a restriction answers in its own way.
func (l *Learner) answered(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !seccomp.IsDefault(name) {
		put(&l.calls, name)
	}
}

// denied notes a call that the box denies.
func (l *Learner) denied(c *systemCall, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if makesSocket(name) {
		if family, known := familyOf(c); known {
			name += " " + family
		}
	}
	if l.refused == nil {
		l.refused = map[string]uint64{}
	}
	l.refused[name]++
}

// makesSocket reports whether the first argument of a call is the family of a new socket.
func makesSocket(name string) bool { return name == "socket" || name == "socketpair" }

// familyOf returns the family of a call that makes a socket, an int. A number that is not
// known means nothing to a box either.
func familyOf(c *systemCall) (name string, known bool) {
	return config.AddressFamilyName(int(int32(c.Arguments[0])))
}

func put(set *map[string]bool, name string) {
	if *set == nil {
		*set = map[string]bool{}
	}
	(*set)[name] = true
}
