package process

import "golang.org/x/sys/unix"

// SignalGroup signals the process group that a worker leads. If the worker has
// moved to another group, SignalGroup signals the worker, too. A group leader
// may join any group of its session (setpgid(2)), and its own group may then be
// empty. The worker must not have been reaped yet.
func SignalGroup(leader int, sig unix.Signal) error {
	err := unix.Kill(-leader, sig)
	if group, groupErr := unix.Getpgid(leader); groupErr == nil && group != leader {
		err = unix.Kill(leader, sig)
	}
	return err
}
