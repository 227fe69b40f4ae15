package threads

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/osthread"
)

// Reserve makes this process hold n threads, or returns an error that says in one
// line what does not allow them. It is for the start of a program, before it has
// made many threads. The threads stay.
//
// It also keeps Go from changing GOMAXPROCS later: since Go 1.25 the runtime
// follows the CPU limit of the cgroup, and each processor may need a thread.
//
// The system is not asked by making threads, because a refusal would end the
// process. A child of the same program makes as many and ends. The main function
// must call RunProbe first for that.
func Reserve(n int) error {
	if err := checkNPROC(n); err != nil {
		return err
	}
	// With one processor the runtime needs hardly any thread while the child
	// has those that are left.
	processors := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(processors)
	if err := ask(n); err != nil {
		return err
	}
	Preallocate(n)
	return nil
}

// probeName is the first argument of the child. No command has such a name.
const probeName = "probe-threads"

// RunProbe makes threads and ends, if these are the arguments of a child that
// Reserve has started. The arguments are those of main, with the program's name.
// It reports false otherwise.
func RunProbe(args []string) bool {
	if len(args) != 3 || args[1] != probeName {
		return false
	}
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return false
	}
	Preallocate(n)
	return true
}

// ask starts a child that makes n threads, and returns why it could not.
func ask(n int) error {
	dirs := cgroups()
	before := refusals(dirs)
	cmd := exec.Cmd{
		Path: "/proc/self/exe",
		Args: []string{os.Args[0], probeName, strconv.Itoa(n)},
		// What it says of a refusal is known. A pipe for it would take a
		// goroutine here.
		Env: []string{"GOTRACEBACK=none", "GOMAXPROCS=1"},
		// Ctrl-C is for this process.
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}
	err := osthread.StartUsual(cmd.Start)
	if err == nil {
		err = cmd.Wait()
	}
	exit, exited := errors.AsType[*exec.ExitError](err)
	if errors.Is(err, unix.EAGAIN) || exited && exit.ExitCode() == crashCode {
		return fmt.Errorf("the system refuses the %d threads and processes that are needed at least: %s",
			n, reason(n, dirs, refusals(dirs) > before))
	}
	// There is room, or nobody can be asked: there is no /proc, or no second
	// process of this program may be started.
	return nil
}

// crashCode is the exit code of a Go program that the runtime ends.
const crashCode = 2

// reason returns which limit has refused n threads. byCgroup says that it was
// one of these cgroups.
func reason(n int, dirs []string, byCgroup bool) string {
	if byCgroup {
		if dir, limit := full(dirs, n); dir != "" {
			return fmt.Sprintf("pids.max of the cgroup %s is %d (TasksMax= of a unit)", dir, limit)
		}
		return fmt.Sprintf("pids.max of the cgroup %s or of one above it", dirs[0])
	}
	if limit, ok := nproc(); ok {
		return fmt.Sprintf("RLIMIT_NPROC is %d, for all processes of the user (ulimit -u, LimitNPROC= of a unit)", limit)
	}
	return "a limit of the container or of the system, such as pids.max of a cgroup, kernel.threads-max or kernel.pid_max"
}
