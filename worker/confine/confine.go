package confine

import (
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/worker"
)

// A State says how far the process was confined. The zero value means fully confined.
type State struct{ missing []string }

// Apply confines the process and returns how far that succeeded. Call it once.
//
// ahead says that no client waits for this process yet. Linux 7.0 and later can put all
// threads into a Landlock domain with one call. Before that, Go's runtime must stop
// each thread, which costs more than the rest of the confinement: an eighth of a
// worker's start and end. On these kernels only a process without a waiting client does
// it. In other processes the domain applies to the calling thread and the threads that
// it starts. The filter always applies to all threads.
//
// boxed says that the process is in a box as ipc.ArgumentBoxed describes. It then enters no
// Landlock domain: the box denies the same already, to all threads.
func Apply(ahead, boxed bool) State {
	var s State
	if raceDetector {
		s.addMissing("off", errRaceDetector)
		return s
	}
	// prctl sets no_new_privs for one thread, and with it the right to install a
	// filter.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		s.addMissing("no_new_privs", err)
		return s
	}
	if boxed {
		if err := installFilter(); err != nil {
			s.addMissing("seccomp", err)
		}
		return s
	}
	// The ruleset is opened first, because the filter allows no open. It is applied
	// last, because the filter sets no_new_privs for all threads.
	ruleset, err := newRuleset()
	if err != nil {
		s.addMissing("landlock", err)
	}
	filtered := installFilter()
	if filtered != nil {
		s.addMissing("seccomp", filtered)
	}
	if err == nil {
		if err := enterDomain(ruleset, ahead, filtered == nil); err != nil {
			s.addMissing("landlock", err)
		}
		unix.Close(ruleset)
	}
	return s
}

func (s *State) addMissing(what string, err error) {
	s.missing = append(s.missing, what+": "+err.Error())
}

// String returns "full", or the missing parts with their reasons.
func (s State) String() string {
	if len(s.missing) == 0 {
		return "full"
	}
	return strings.Join(s.missing, ", ")
}

// Handler returns a handler that serves with h. When parts of the confinement are
// missing, it adds them to the report of each connection.
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
