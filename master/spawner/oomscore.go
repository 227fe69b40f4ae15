package spawner

import (
	"errors"
	"os"
	"strconv"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/oomscore"
	"github.com/preforkd/preforkd/master/process"
)

// adjustOOMScore gives a child the adjustment of its command.
//
// It happens right after the exec. The adjustment belongs to a process and not to
// a thread, and between fork and exec there is no place for it: a child that
// changed it while it still shares the memory of its parent would need code of
// its own, and a parent that changed its own for the fork would be the kernel's
// first choice meanwhile. What the program forks within the first microseconds
// keeps the master's adjustment.
func (s *Spawner) adjustOOMScore(c *process.Command, child *process.Child) {
	set := func() error {
		return oomscore.Set(child.Pid, *c.OOMScoreAdjust, func() bool { return !child.Reaped() })
	}
	err := set()
	var file unix.Stat_t
	if errors.Is(err, unix.EACCES) && unix.Stat("/proc/"+strconv.Itoa(child.Pid)+"/oom_score_adj", &file) == nil {
		// The file belongs to the child's user. A master that may become that
		// user without being root may write it as that user.
		err = s.threads.asUser(int(file.Uid), int(file.Gid), set)
	}
	switch {
	case err == nil:
		s.oomWarned.Store(false)
	case s.oomWarned.CompareAndSwap(false, true):
		s.log.Warn(logging.EventOOMScore, zap.String("program", c.Path), logging.PID(child.Pid), logging.Error(err))
	}
}

// asUser runs f on one of the threads, with the rights to files of another user
// (setfsuid(2)).
func (t *threads) asUser(uid, gid int, f func() error) error {
	return t.do(&t.own, func(*thread) error {
		_ = unix.Setfsgid(gid) // neither of them tells whether it was allowed; f does
		_ = unix.Setfsuid(uid)
		err := f()
		_ = unix.Setfsuid(os.Geteuid())
		_ = unix.Setfsgid(os.Getegid())
		return err
	})
}
