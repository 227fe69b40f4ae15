package machinetest

import (
	"os/exec"
	"runtime"
	"syscall"
)

// startBound starts a command that does not outlive this process. How it ends is sent
// on the channel.
//
// PR_SET_PDEATHSIG is about the end of the thread that has started the child
// (PR_SET_PDEATHSIG(2const)). So the thread that starts it stays until the child has
// ended. Ctrl-C is for this process, therefore the child has a group of its own.
func startBound(cmd *exec.Cmd) (<-chan error, error) {
	started, ended := make(chan error), make(chan error, 1)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	return ended, <-started
}
