package observe

import (
	"fmt"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/osthread"
)

// Supported returns why filters cannot tell of calls here, or nil. The kernel may not have
// that, and there may be a filter above this process that tells somebody else already:
// there can be only one (EBUSY, seccomp(2)). It is tried once, on a thread that ends
// afterwards.
var Supported = sync.OnceValue(func() error {
	thread, err := osthread.Start(func() error {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("prctl: %w", err)
		}
		allow := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
		program := unix.SockFprog{Len: 1, Filter: &allow}
		fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&program)))
		if errno != 0 {
			return fmt.Errorf("seccomp: %w", errno)
		}
		return unix.Close(int(fd))
	})
	if err != nil {
		return err
	}
	thread.Close()
	return nil
})
