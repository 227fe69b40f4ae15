package observe

import (
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/box/seccomp"
	"github.com/preforkd/preforkd/master/box/syscalls"
)

// A Subject is the filter of a box, for all processes of it. It does not change once an
// Observer has it.
type Subject struct {
	// Kill says that who makes a call which the policy denies is killed. Otherwise the
	// call goes on (seccomp.Kill and seccomp.Log).
	Kill bool
	// Judge decides with seccomp.NoticeAll. Without it, every call that there is notice of
	// is one that the policy denies.
	Judge *seccomp.Judge
	// Allows reports whether the policy allows a call by its name. It goes with Judge.
	Allows func(name string) bool
	// Learner notes what processes use, or is nil.
	Learner *Learner
}

// foreignName stands for a call whose number means another one.
const foreignName = "foreign architecture"

// A systemCall is struct seccomp_data (seccomp(2)).
type systemCall struct {
	Number      uint32
	Arch        uint32
	Instruction uint64
	Arguments   [6]uint64
}

func (c *systemCall) name() string {
	if seccomp.Foreign(runtime.GOARCH, c.Arch, c.Number) {
		return foreignName
	}
	if name, known := syscalls.Name(runtime.GOARCH, int(c.Number)); known {
		return name
	}
	return "unknown" // never: filters answer these themselves
}

// An answer is what becomes of a call. If it neither kills nor has an errno, the call goes on.
type answer struct {
	kill  bool
	errno unix.Errno
	// denied says that the policy denies the call, whatever becomes of it, or that its
	// arguments are not allowed.
	denied bool
}

// judge returns what becomes of a call.
func (s *Subject) judge(c *systemCall) answer {
	action := uint32(unix.SECCOMP_RET_USER_NOTIF)
	if s.Judge != nil {
		action = s.Judge.Action(c.Arch, c.Number, c.Arguments)
	}
	switch action & unix.SECCOMP_RET_ACTION_FULL {
	case unix.SECCOMP_RET_ALLOW:
		return answer{}
	case unix.SECCOMP_RET_USER_NOTIF:
		return answer{kill: s.Kill, denied: true}
	case unix.SECCOMP_RET_ERRNO:
		errno := unix.Errno(action & unix.SECCOMP_RET_DATA)
		// With ENOSYS programs go on with an older call, and miss nothing.
		return answer{errno: errno, denied: errno != unix.ENOSYS}
	}
	return answer{errno: unix.EPERM, denied: true} // what is no answer here must not let a call go on
}

// learn tells the Learner of a call.
func (s *Subject) learn(c *systemCall, name string, a answer) {
	if s.Learner == nil {
		return
	}
	if !a.kill && a.errno == 0 {
		s.Learner.used(c, name)
		return
	}
	if a.denied {
		s.Learner.denied(c, name)
	}
	if !a.kill && a.errno != unix.EPERM && s.Allows(name) {
		// A restriction has answered. If the list did not allow the call the answer would be
		// EPERM, and programs may go on only with this one.
		s.Learner.answered(name)
	}
}
