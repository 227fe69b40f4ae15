package observe

import (
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/process"
)

// graceToEnd is how long a process has to end by SIGSYS, which it may have begun to
// ignore just then. Its call waits meanwhile.
const graceToEnd = time.Second

// maxCondemned bounds the processes that have this time. Others are killed at once.
const maxCondemned = 64

// kill ends the process that has made a call, as SECCOMP_RET_KILL_PROCESS would: by
// SIGSYS, and where that would not end it by SIGKILL. The lock is held.
//
// While the call waits, the number of its thread is nobody else's. So the process is
// looked up first, and then it is seen whether the call still waits.
func (o *Observer) kill(l *listener, n *notification) error {
	thread, err := process.ThreadOf(int(n.TID))
	if err != nil {
		return err
	}
	pidfd, err := unix.PidfdOpen(thread.Process, 0)
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	if err := l.ioctl(notifIDValid, unsafe.Pointer(&n.ID)); err != nil {
		unix.Close(pidfd)
		return os.NewSyscallError("ioctl", err)
	}
	sig := unix.SIGKILL
	if thread.Takes(unix.SIGSYS) && len(o.condemned) < maxCondemned {
		sig = unix.SIGSYS
	}
	err = os.NewSyscallError("pidfd_send_signal", unix.PidfdSendSignal(pidfd, sig, nil, 0))
	if err != nil || sig == unix.SIGKILL {
		unix.Close(pidfd)
		return err
	}
	o.condemned[pidfd] = o.condemn(pidfd, time.Now().Add(graceToEnd))
	return nil
}

// A condemned is a process that is to end by SIGSYS, with what kills it otherwise.
type condemned struct {
	until time.Time
	timer *time.Timer // nil until the Observer is resumed first
}

func (o *Observer) condemn(pidfd int, until time.Time) condemned {
	return condemned{until, time.AfterFunc(time.Until(until), func() { o.finish(pidfd) })}
}

// finish kills a process whose time is over, unless it has ended.
func (o *Observer) finish(pidfd int) {
	o.turn.Lock()
	defer o.turn.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, there := o.condemned[pidfd]; !there {
		return // Close has been here
	}
	delete(o.condemned, pidfd)
	_ = unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
	unix.Close(pidfd)
}
