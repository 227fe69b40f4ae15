package osthread

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
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
	env, restore := relax(os.Environ(), usual)
	if restore == nil {
		return errors.New("the timer slack cannot be set")
	}
	defer restore()
	return ExecAgain(env)
}

// relax gives the calling thread the slack that a program which it executes is to hand on
// to its monitor. It returns the environment that tells the program the usual slack, and
// what to call when the exec has failed. That is nil if nothing was changed, because the
// slack cannot be set.
func relax(env []string, usual int64) (told []string, restore func()) {
	setSlack(monitorSlack.Nanoseconds())
	if now, err := ownSlack(); err != nil || now != monitorSlack.Nanoseconds() {
		setSlack(usual)
		return env, nil
	}
	told = append(slices.Clone(env), envUsualSlack+"="+strconv.FormatInt(usual, 10))
	return told, func() { setSlack(usual) }
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
	return execute(self, self, os.Args, env)
}

// ExecFile executes another program in the same process: the one in an open file, whatever
// has become of its path, which is the name of the file. The file may be opened with
// O_PATH, and must not be a script. args is the whole argument vector.
//
// What execve(2) keeps of a thread, such as its mask of signals, its capabilities and its
// umask, is that of the calling thread. It must be locked, and must have no state of its
// own. Descriptors with FD_CLOEXEC are closed. The program may have a number for its name
// at first (PR_SET_NAME, prctl(2)); package procname mends that.
//
// SIGHUP, SIGINT, SIGQUIT and SIGTERM are ignored from now on until the program catches
// them, because they would end it at its start even if they were blocked. SIGTERM and
// SIGQUIT are so only until its runtime has started. Other signals that are blocked wait.
//
// Where the monitor of this program is relaxed, that of the program is, too, without any
// capability, and TakeSlack goes on in it. It returns only on failure. The thread, the
// signals and the limit of open files are as before then.
func ExecFile(file *os.File, args, env []string) error {
	path, err := pathOf(file)
	if err != nil {
		return err
	}
	if usual := usualSlack.Load(); usual != 0 {
		told, restore := relax(env, usual)
		if restore != nil {
			env = told
			defer restore()
		}
	}
	defer ignoreAtStart()()
	return execute(path, file.Name(), args, env)
}

// execute executes the program at a path. The error names it.
func execute(path, name string, args, env []string) error {
	// Exec gives back to the program the limit that Go has raised at the start.
	var files unix.Rlimit
	limitErr := unix.Getrlimit(unix.RLIMIT_NOFILE, &files)
	err := unix.Exec(path, args, env)
	if limitErr == nil {
		// Go has forgotten the lower one, so children have this one from now on.
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &files)
	}
	return fmt.Errorf("execute %s: %w", name, err)
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
	if isAt(running, path) {
		return path, nil
	}
	return selfExe, nil
}

// pathOf returns a path of an open file: its name, if the file is still there.
func pathOf(file *os.File) (string, error) {
	info, err := file.Stat()
	if err != nil {
		return "", err
	}
	if isAt(info, file.Name()) {
		return file.Name(), nil
	}
	return fmt.Sprintf("/proc/self/fd/%d", file.Fd()), nil
}

// isAt reports whether a file is what is at a path.
func isAt(file os.FileInfo, path string) bool {
	there, err := os.Stat(path)
	return err == nil && os.SameFile(file, there)
}

// selfExe leads to the file of this program, whatever has become of its path (proc_pid_exe(5)).
const selfExe = "/proc/self/exe"
