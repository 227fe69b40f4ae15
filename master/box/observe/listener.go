package observe

import (
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A listener is told of the calls of a process, and of all that it has started.
type listener struct {
	fd      int
	subject *Subject
	told    *told
}

// told is what is known of a process. The Observer's lock guards it.
type told struct {
	denied []string
	killed bool
	over   bool // nobody has the filter any more
}

// maxDenied bounds the names that are kept of a process.
const maxDenied = 16

func (t *told) add(name string) {
	if len(t.denied) < maxDenied && !slices.Contains(t.denied, name) {
		t.denied = append(t.denied, name)
	}
}

// A notification is struct seccomp_notif, and a response struct seccomp_notif_resp
// (seccomp_unotify(2)).
type notification struct {
	ID    uint64
	TID   uint32 // of the caller, in the master's pid namespace
	Flags uint32
	Call  systemCall
}

type response struct {
	ID    uint64
	Value int64
	Errno int32 // negative
	Flags uint32
}

// notifIDValid is SECCOMP_IOCTL_NOTIF_ID_VALID (linux/seccomp.h).
const notifIDValid = 0x40082102

func (l *listener) ioctl(request uintptr, argument unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(l.fd), request, uintptr(argument)); errno != 0 {
		return errno
	}
	return nil
}

// receive takes a notification. It fails if there is none any more, because whoever made
// the call has been killed or interrupted.
func (l *listener) receive() (n notification, err error) {
	return n, l.ioctl(unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n))
}

// answer answers a call. It may be that nobody waits for it any more. A call for which
// somebody was to be killed must in no case go on.
func (l *listener) answer(n *notification, a answer) {
	r := response{ID: n.ID, Flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	if a.kill {
		a.errno = unix.EPERM
	}
	if a.errno != 0 {
		r.Flags, r.Errno = 0, -int32(a.errno)
	}
	_ = l.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r))
}
