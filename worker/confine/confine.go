package confine

import (
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/worker"
)

// A State says how far the process was confined. The zero value is all the way.
type State struct{ missing []string }

// Apply confines the process and returns how far that went. It is called once.
//
// ahead says that no client waits for this process yet. Before Linux 7.0, which
// can put all threads into a Landlock domain with one call, Go's runtime has to
// stop each of them for it, and that costs more than all the rest of the
// confinement (an eighth of what it takes to start and end a worker). So then
// only a process that has the time does it; in others the domain holds for the
// calling thread and those that it starts, and the filter for all.
func Apply(ahead bool) State {
	var s State
	if instrumented {
		s.miss("off", errInstrumented)
		return s
	}
	// What prctl sets belongs to the thread, and so does the right to install
	// a filter that comes with it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		s.miss("no_new_privs", err)
		return s
	}
	// Opened first, because the filter lets nothing be opened, and put in
	// force last, because the filter gives no_new_privs to all threads.
	ruleset, err := newRuleset()
	if err != nil {
		s.miss("landlock", err)
	}
	filtered := installFilter()
	if filtered != nil {
		s.miss("seccomp", filtered)
	}
	if err == nil {
		if err := restrict(ruleset, ahead, filtered == nil); err != nil {
			s.miss("landlock", err)
		}
		unix.Close(ruleset)
	}
	return s
}

func (s *State) miss(what string, err error) { s.missing = append(s.missing, what+": "+err.Error()) }

// String is "full", or what is missing and why.
func (s State) String() string {
	if len(s.missing) == 0 {
		return "full"
	}
	return strings.Join(s.missing, ", ")
}

// Handler returns a handler that serves with h and puts what is missing, if
// anything is, into the report of each connection.
func (s State) Handler(h worker.Handler) worker.Handler {
	if len(s.missing) == 0 {
		return h
	}
	return func(c *worker.Conn) error {
		text := s.String()
		if err := c.Report(ipc.ValueUnconfined, text[:min(len(text), ipc.MaxValue)]); err != nil {
			return err
		}
		return h(c)
	}
}
