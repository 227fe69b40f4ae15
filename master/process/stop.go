package process

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Stop says that a child was stopped by a signal, or goes on.
type Stop struct {
	Pid       int
	Signal    unix.Signal // that has stopped it
	Continued bool        // it goes on; there is no Signal
}

// NextStop returns a child that was stopped, or goes on, since it was asked for
// last. It does not wait, and reports false when there is none. The child is not
// reaped. The kernel looks at all children (waitid(2)), and tells each change of
// a child once, the last one only.
//
// SIGCHLD is sent for such children, too, because Go does not set SA_NOCLDSTOP.
func NextStop() (Stop, bool) {
	for {
		var info siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info.Siginfo, unix.WSTOPPED|unix.WCONTINUED|unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		child := info.child()
		if err != nil || child.pid == 0 {
			return Stop{}, false
		}
		if info.Code == cldContinued {
			return Stop{Pid: int(child.pid), Continued: true}, true
		}
		return Stop{Pid: int(child.pid), Signal: unix.Signal(child.status)}, true
	}
}

// cldContinued is CLD_CONTINUED of asm-generic/siginfo.h.
const cldContinued = 6

// A siginfo is a siginfo_t of SIGCHLD.
type siginfo struct{ unix.Siginfo }

// A childInfo is the part _sigchld of a siginfo_t. It comes after three numbers,
// aligned as a pointer.
type childInfo struct {
	pid    int32
	uid    uint32
	status int32
}

func (s *siginfo) child() childInfo {
	const offset = (3*4 + unsafe.Sizeof(uintptr(0)) - 1) / unsafe.Sizeof(uintptr(0)) * unsafe.Sizeof(uintptr(0))
	return *(*childInfo)(unsafe.Add(unsafe.Pointer(&s.Siginfo), offset))
}
