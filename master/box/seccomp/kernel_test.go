//go:build amd64 || arm64

package seccomp

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/needtest"
)

const (
	envCase     = "PREFORKD_TEST_CASE"     // the case that a child process tries
	envFiltered = "PREFORKD_TEST_FILTERED" // it installs the filter first
	envDir      = "PREFORKD_TEST_DIR"      // where it may write
)

func TestMain(m *testing.M) {
	if name := os.Getenv(envCase); name != "" {
		os.Exit(try(name, os.Getenv(envFiltered) == "1", os.Getenv(envDir)))
	}
	os.Exit(m.Run())
}

// An attempt is a call, with the error that it returns within the filter and without.
// Where the call succeeds without, it is harmless: it concerns the child alone.
type attempt struct {
	name     string
	try      func(dir string) error
	within   error
	without  error
	anyError bool // without the filter it may fail, with another error
}

type kernelCase struct {
	config   func() Config
	attempts []attempt
}

// withPolicy returns a Config with a policy only.
func withPolicy(list ...string) func() Config {
	return func() Config { return Config{Policy: policy(list...)} }
}

// strict returns all restrictions, and the system calls of a service.
func strict() Config { return everything("@system-service", "~@privileged", "~@resources") }

func call(number uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	if _, _, errno := unix.RawSyscall6(number, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
		return errno
	}
	return nil
}

func onlyError[T any](_ T, err error) error { return err }

// invalid is a pointer or descriptor that no call accepts.
const invalid = ^uintptr(0)

var cases = map[string]kernelCase{
	"policy": {withPolicy("~@mount", "~@keyring", "~getpgid"), []attempt{
		{name: "mount", try: func(string) error { return unix.Mount("", "/nowhere", "no-such-type", 0, "") }, within: unix.EPERM, without: unix.ENOENT},
		{name: "getpgid", try: func(string) error { return onlyError(unix.Getpgid(0)) }, within: unix.EPERM},
		{name: "getsid", try: func(string) error { return onlyError(unix.Getsid(0)) }},
		{name: "a number that no kernel has yet", try: func(string) error { return call(2000) }, within: unix.ENOSYS, without: unix.ENOSYS},
		{name: "the program goes on", try: func(string) error { return exec.Command("/bin/true").Run() }},
	}},
	"only service calls": {withPolicy("@system-service", "~@privileged", "~@resources"), []attempt{
		{name: "mount", try: func(string) error { return unix.Mount("", "/nowhere", "no-such-type", 0, "") }, within: unix.EPERM, without: unix.ENOENT},
		{name: "setpriority", try: func(string) error { return unix.Setpriority(unix.PRIO_PROCESS, 0, 19) }, within: unix.EPERM},
		{name: "chroot", try: func(string) error { return unix.Chroot("/nowhere") }, within: unix.EPERM, without: unix.ENOENT},
		{name: "the program goes on", try: func(string) error { return exec.Command("/bin/sh", "-c", "exec /bin/ls / >/dev/null").Run() }},
	}},
	"log": {func() Config { c := withPolicy("~getpgid")(); c.Action = Log; return c }, []attempt{
		{name: "getpgid", try: func(string) error { return onlyError(unix.Getpgid(0)) }},
	}},
	"namespaces": {func() Config { return Config{RestrictNamespaces: true} }, []attempt{
		{name: "clone", try: func(string) error {
			cmd := exec.Command("/bin/true")
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
			return cmd.Run()
		}, within: unix.EPERM},
		{name: "unshare of a namespace", try: func(string) error { return unix.Unshare(unix.CLONE_NEWUTS) }, within: unix.EPERM},
		{name: "unshare of the directory", try: func(string) error { return unix.Unshare(unix.CLONE_FS) }},
		{name: "setns", try: func(string) error {
			fd, err := unix.Open("/proc/thread-self/ns/uts", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return unix.Setns(fd, 0)
		}, within: unix.EPERM},
		{name: "clone3", try: func(string) error { return call(unix.SYS_CLONE3, 0, 0) }, within: unix.ENOSYS, without: unix.EINVAL},
		{name: "open_tree", try: func(string) error { return call(unix.SYS_OPEN_TREE, invalid, invalid, openTreeNamespace) }, within: unix.EPERM, anyError: true},
		{name: "fsmount", try: func(string) error { return call(unix.SYS_FSMOUNT, invalid, fsmountNamespace) }, within: unix.EPERM, anyError: true},
		{name: "fork", try: func(string) error { return exec.Command("/bin/true").Run() }},
	}},
	"parents": {func() Config { return Config{RestrictParents: true} }, []attempt{
		{name: "a sibling", try: func(string) error {
			p, err := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{Sys: &syscall.SysProcAttr{Cloneflags: unix.CLONE_PARENT}})
			if err == nil {
				p.Release()
			}
			return err
		}, within: unix.EPERM},
		{name: "clone3", try: func(string) error { return call(unix.SYS_CLONE3, 0, 0) }, within: unix.ENOSYS, without: unix.EINVAL},
		{name: "fork", try: func(string) error { return exec.Command("/bin/true").Run() }},
	}},
	"realtime": {func() Config { return Config{RestrictRealtime: true} }, []attempt{
		{name: "FIFO", try: func(string) error { return call(unix.SYS_SCHED_SETSCHEDULER, invalid, unix.SCHED_FIFO, 0) }, within: unix.EPERM, without: unix.EINVAL},
		{name: "FIFO, with the upper half set", try: func(string) error {
			return call(unix.SYS_SCHED_SETSCHEDULER, invalid, 1<<32|unix.SCHED_FIFO, 0)
		}, within: unix.EPERM, without: unix.EINVAL},
		{name: "sched_setattr", try: func(string) error { return call(unix.SYS_SCHED_SETATTR, 0, 0, 0) }, within: unix.ENOSYS, without: unix.EINVAL},
		{name: "BATCH", try: func(string) error {
			var parameters int32
			return call(unix.SYS_SCHED_SETSCHEDULER, 0, unix.SCHED_BATCH|unix.SCHED_RESET_ON_FORK, uintptr(unsafe.Pointer(&parameters)))
		}},
	}},
	"suid and sgid": {func() Config { return Config{RestrictSUIDSGID: true} }, []attempt{
		{name: "chmod", try: func(dir string) error { return chmod(dir, 0o4755) }, within: unix.EPERM},
		{name: "chmod sgid", try: func(dir string) error { return chmod(dir, 0o2755) }, within: unix.EPERM},
		{name: "chmod without", try: func(dir string) error { return chmod(dir, 0o1755) }},
		{name: "fchmodat2", try: func(dir string) error { return call(unix.SYS_FCHMODAT2, invalid, invalid, 0o4755, 0) }, within: unix.EPERM, anyError: true},
		{name: "create", try: func(dir string) error { return open(dir+"/created", unix.O_CREAT|unix.O_RDWR, 0o4755) }, within: unix.EPERM},
		{name: "create a nameless file", try: func(dir string) error { return open(dir, unix.O_TMPFILE|unix.O_RDWR, 0o4755) }, within: unix.EPERM},
		{name: "create without", try: func(dir string) error { return open(dir+"/without", unix.O_CREAT|unix.O_RDWR, 0o755) }},
		{name: "open", try: func(dir string) error { return open(dir, unix.O_RDONLY, 0o4755) }},
		{name: "mkdir", try: func(dir string) error { return unix.Mkdirat(unix.AT_FDCWD, dir+"/directory", 0o2755) }, within: unix.EPERM},
		{name: "mknod", try: func(dir string) error { return unix.Mknodat(unix.AT_FDCWD, dir+"/node", unix.S_IFREG|0o4755, 0) }, within: unix.EPERM},
		{name: "openat2", try: func(dir string) error { return call(unix.SYS_OPENAT2, invalid, invalid, 0, 0) }, within: unix.ENOSYS, without: unix.EINVAL},
		{name: "a ring", try: func(dir string) error { return call(unix.SYS_IO_URING_ENTER, invalid, 0, 0, 0, 0, 0) }, within: unix.EPERM, anyError: true},
	}},
	"personality": {func() Config { return Config{LockPersonality: true} }, []attempt{
		{name: "change", try: func(string) error { return call(unix.SYS_PERSONALITY, 0x0040000) }, within: unix.EPERM},
		{name: "ask", try: func(string) error { return call(unix.SYS_PERSONALITY, 0xffffffff) }},
		{name: "the usual one", try: func(string) error { return call(unix.SYS_PERSONALITY, 0) }},
	}},
	"write and execute": {func() Config { return Config{MemoryDenyWriteExecute: true} }, []attempt{
		{name: "both", try: func(string) error { return mapMemory(unix.PROT_WRITE | unix.PROT_EXEC) }, within: unix.EPERM},
		{name: "write", try: func(string) error { return mapMemory(unix.PROT_WRITE) }},
		{name: "execute", try: func(string) error { return mapMemory(unix.PROT_READ | unix.PROT_EXEC) }},
		{name: "mprotect", try: func(string) error { return call(unix.SYS_MPROTECT, 1, 0, unix.PROT_EXEC) }, within: unix.EPERM, without: unix.EINVAL},
		{name: "shmat", try: func(string) error { return call(unix.SYS_SHMAT, invalid, 0, shmExec) }, within: unix.EPERM, anyError: true},
		{name: "READ_IMPLIES_EXEC", try: func(string) error { return call(unix.SYS_PERSONALITY, readImpliesExec) }, within: unix.EPERM},
		{name: "the program goes on", try: func(string) error { return exec.Command("/bin/true").Run() }},
	}},
	"unix sockets": {func() Config { return Config{AddressFamilies: []int{unix.AF_UNIX}} }, []attempt{
		{name: "inet", try: func(string) error { return socket(unix.AF_INET) }, within: unix.EAFNOSUPPORT},
		{name: "netlink", try: func(string) error { return socket(unix.AF_NETLINK) }, within: unix.EAFNOSUPPORT},
		{name: "inet, with the upper half set", try: func(string) error {
			return call(unix.SYS_SOCKET, 1<<32|unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		}, within: unix.EAFNOSUPPORT},
		{name: "unix", try: func(string) error { return socket(unix.AF_UNIX) }},
		{name: "pair of unix", try: func(string) error {
			return onlyError(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
		}},
		{name: "pair of inet", try: func(string) error { return onlyError(unix.Socketpair(unix.AF_INET, unix.SOCK_STREAM, 0)) }, within: unix.EAFNOSUPPORT, anyError: true},
		{name: "a ring", try: func(string) error { return call(unix.SYS_IO_URING_ENTER, invalid, 0, 0, 0, 0, 0) }, within: unix.EPERM, anyError: true},
	}},
	// Real programs go on with everything that a strict box forbids, those with threads
	// too: the C library starts them by clone where clone3 returns ENOSYS.
	"everything": {strict, []attempt{
		{name: "processes and pipes", try: func(string) error {
			return exec.Command("/bin/sh", "-c", `ls / | sort | grep -q etc && test "$(id -u)" -ge 0`).Run()
		}},
		{name: "threads", try: func(dir string) error {
			text := []byte(strings.Repeat("some line\nanother line\n", 1<<17))
			if err := os.WriteFile(dir+"/lines", text, 0o600); err != nil {
				return err
			}
			return exec.Command("sort", "--parallel=4", "--buffer-size=64M", "-o", dir+"/sorted", dir+"/lines").Run()
		}},
		{name: "inet", try: func(string) error { return socket(unix.AF_INET) }, within: unix.EAFNOSUPPORT},
		{name: "setpriority", try: func(string) error { return unix.Setpriority(unix.PRIO_PROCESS, 0, 19) }, within: unix.EPERM},
	}},
	"no sockets": {func() Config { return Config{AddressFamilies: []int{}} }, []attempt{
		{name: "unix", try: func(string) error { return socket(unix.AF_UNIX) }, within: unix.EAFNOSUPPORT},
		{name: "pair of unix", try: func(string) error { return onlyError(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)) }, within: unix.EAFNOSUPPORT},
	}},
}

func chmod(dir string, mode uint32) error {
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	return unix.Fchmodat(unix.AT_FDCWD, path, mode, 0)
}

func open(path string, flags int, mode uint32) error {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, mode)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func mapMemory(protection int) error {
	memory, err := unix.Mmap(-1, 0, 4096, protection, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err == nil {
		unix.Munmap(memory)
	}
	return err
}

func socket(family int) error {
	return onlyError(unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))
}

// install applies a program to all threads of this process. The calling goroutine must be
// locked to its thread.
func install(code []unix.SockFilter) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	p := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	thread, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&p)))
	if errno != 0 {
		return errno
	}
	if thread != 0 {
		return fmt.Errorf("thread %d has a filter of its own", thread)
	}
	return nil
}

// installConfig compiles and applies a program, and ends this process if that fails.
func installConfig(c Config) {
	runtime.LockOSThread()
	code, err := Compile(runtime.GOARCH, c)
	if err == nil {
		err = install(code)
	}
	if err != nil {
		fmt.Println("install:", err)
		os.Exit(2)
	}
}

// forbiddenHere begins the line about an attempt that shows nothing, because something
// else than the filter forbids it, such as the container in which the test runs.
const forbiddenHere = "forbidden here: "

// try makes the attempts of a case in this process. It returns the exit code.
func try(name string, filtered bool, dir string) int {
	if role, found := roles[name]; found {
		role()
		return 0
	}
	runtime.LockOSThread()
	c := cases[name]
	if filtered {
		installConfig(c.config())
	}
	for _, a := range c.attempts {
		switch err := a.try(dir); {
		case filtered && !errors.Is(err, a.within):
			fmt.Printf("within the filter, %s: %v, want %v\n", a.name, err, a.within)
		case filtered:
		case !errors.Is(a.within, a.without) && errors.Is(err, a.within):
			fmt.Printf("%s%s: %v without the filter, too\n", forbiddenHere, a.name, err)
		case !a.anyError && !errors.Is(err, a.without):
			fmt.Printf("without the filter, %s: %v, want %v\n", a.name, err, a.without)
		}
	}
	return 0
}

// child runs this test program as a child that tries a case.
func child(t *testing.T, name string, filtered bool) (string, error) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	// The race detector would let each child sleep for a second at its end.
	cmd.Env = append(os.Environ(), envCase+"="+name, envDir+"="+t.TempDir(), "GORACE=atexit_sleep_ms=0")
	if filtered {
		cmd.Env = append(cmd.Env, envFiltered+"=1")
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Every attempt is made without the filter too, so that none fails for another reason.
func TestKernelDeniesWhatModelDenies(t *testing.T) {
	for name := range cases {
		for _, filtered := range []bool{false, true} {
			t.Run(fmt.Sprint(name, "/filtered=", filtered), func(t *testing.T) {
				out, err := child(t, name, filtered)
				if err != nil {
					t.Errorf("%v\n%s", err, out)
				}
				for line := range strings.Lines(out) {
					if !strings.HasPrefix(line, forbiddenHere) {
						t.Error(line)
					}
				}
				if out != "" && !t.Failed() {
					needtest.SkipAnywhere(t, strings.TrimSpace(out))
				}
			})
		}
	}
}

// roles are what a child does in the tests below. A role that returns has failed.
var roles = map[string]func(){
	"kill": func() {
		c := withPolicy("~getpgid")()
		c.Action = Kill
		installConfig(c)
		unix.Getpgid(0)
	},
	"kill x32": func() {
		installConfig(Config{Action: Kill})
		call(0x40000000 + unix.SYS_GETPID)
	},
	"kill old x32": func() {
		installConfig(Config{Action: Kill})
		call(520) // execve of the x32 ABI
	},
	"unknown is no reason to kill": func() {
		c := withPolicy("@system-service")()
		c.Action = Kill
		installConfig(c)
		if err := call(2000); err == unix.ENOSYS {
			os.Exit(10)
		}
	},
}

// exited returns how a child ended: its exit code, or the name of the signal.
func exited(err error) string {
	var exit *exec.ExitError
	if err == nil {
		return "0"
	}
	if !errors.As(err, &exit) {
		return err.Error()
	}
	if status := exit.Sys().(syscall.WaitStatus); status.Signaled() {
		return unix.SignalName(status.Signal())
	}
	return strconv.Itoa(exit.ExitCode())
}

func TestKill(t *testing.T) {
	for name, want := range map[string]string{
		"kill":                         "SIGSYS",
		"kill x32":                     map[string]string{"amd64": "SIGSYS", "arm64": "0"}[runtime.GOARCH],
		"kill old x32":                 map[string]string{"amd64": "SIGSYS", "arm64": "0"}[runtime.GOARCH],
		"unknown is no reason to kill": "10",
	} {
		out, err := child(t, name, true)
		if got := exited(err); got != want || strings.Contains(out, "install") {
			t.Errorf("%s: %s, want %s\n%s", name, got, want, out)
		}
	}
}
