package process

import "golang.org/x/sys/unix"

// SignalGroup signals the process group that a worker leads. The worker must not
// have been reaped yet.
//
// The worker itself is always reached. It leads a session, and such a process
// can join no other group and begin no other session (setpgid(2), setsid(2)).
func SignalGroup(leader int, sig unix.Signal) error { return unix.Kill(-leader, sig) }
