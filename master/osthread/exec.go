package osthread

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// envUsualSlack is the environment variable in which ExecRelaxed tells the program that
// it executes the usual timer slack, in ns. TakeSlack removes it.
const envUsualSlack = "PREFORKD_USUAL_SLACK"

// executed says that ExecRelaxed has executed this program. Only TakeSlack sets it,
// before there is a second goroutine.
var executed bool

// ExecRelaxed relaxes the monitor where RelaxMonitor lacks CAP_SYS_NICE. It executes this
// program again, with a slack that the first thread hands on to the monitor, and TakeSlack
// goes on from there. It returns nil if there is no need for that, and an error if there
// is and the monitor stays as it was.
//
// The process keeps what execve(2) keeps: its pid, descriptors without FD_CLOEXEC, the
// signals that are ignored. Signals with a handler get their default action. So it must
// come before anything is opened, read, caught or said. While a signal is blocked it does
// nothing: process.ResetSignals executes the program for that, and it comes again.
func ExecRelaxed() error {
	if executed || signalsBlocked() {
		return nil
	}
	tid, err := monitor()
	if err != nil {
		return err
	}
	// The capability is needed to look, too.
	if _, err := os.ReadFile(slackFile(tid)); !errors.Is(err, fs.ErrPermission) {
		return err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	usual, err := slackToRelax()
	if usual == 0 {
		return err
	}
	setSlack(monitorSlack.Nanoseconds())
	defer setSlack(usual)
	if now, err := ownSlack(); err != nil || now != monitorSlack.Nanoseconds() {
		return errors.New("the timer slack cannot be set")
	}
	return ExecAgain(append(os.Environ(), envUsualSlack+"="+strconv.FormatInt(usual, 10)))
}

// TakeSlack goes on where ExecRelaxed has executed this program: it takes the usual slack
// back for the main thread, when the monitor has what it was started with. It must be
// called by an init function, which runs on the main thread, before any other thread is
// needed. Otherwise it changes nothing.
func TakeSlack() {
	text, found := os.LookupEnv(envUsualSlack)
	if !found {
		return
	}
	os.Unsetenv(envUsualSlack)
	usual, err := strconv.ParseInt(text, 10, 64)
	if err != nil || usual <= 0 || usual >= monitorSlack.Nanoseconds() {
		return // somebody else has set it
	}
	executed = true
	if now, err := ownSlack(); err == nil && now == monitorSlack.Nanoseconds() {
		setSlack(usual)
		usualSlack.Store(usual)
	}
}

// ExecAgain executes this program again in the same process, with the same arguments and
// the environment env. What execve(2) keeps of a thread, such as its mask of signals and
// its timer slack, is that of the calling thread, which must be locked. It returns only on
// failure.
func ExecAgain(env []string) error {
	self, err := ownPath()
	if err != nil {
		return err
	}
	// Exec gives back to the program the limit that Go has raised at the start.
	var files unix.Rlimit
	limitErr := unix.Getrlimit(unix.RLIMIT_NOFILE, &files)
	err = unix.Exec(self, os.Args, env)
	if limitErr == nil {
		// Go has forgotten the lower one, so children have this one from now on.
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &files)
	}
	return fmt.Errorf("execute %s: %w", self, err)
}

// ownPath returns a path of this program. That is the one that it was executed by, which
// names the process, unless another file is there by now or none.
func ownPath() (string, error) {
	running, err := os.Stat(selfExe)
	if err != nil {
		return "", err
	}
	path, err := os.Executable()
	if err != nil {
		return "", err
	}
	if there, err := os.Stat(path); err == nil && os.SameFile(running, there) {
		return path, nil
	}
	return selfExe, nil
}

// selfExe leads to the file of this program, whatever has become of its path (proc_pid_exe(5)).
const selfExe = "/proc/self/exe"

// signalsBlocked reports whether the calling thread blocks a signal.
func signalsBlocked() bool {
	var blocked unix.Sigset_t
	err := unix.PthreadSigmask(unix.SIG_BLOCK, nil, &blocked)
	return err != nil || blocked != unix.Sigset_t{}
}
