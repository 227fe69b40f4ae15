//go:build amd64 || arm64

package confine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/ipc/needtest"
	"github.com/preforkd/preforkd/worker"
	"github.com/preforkd/preforkd/worker/echo"
	"github.com/preforkd/preforkd/worker/sockettest"
)

// binary is this test program, built as a confined worker would be: without C code and
// without the race detector, which turns confinement off.
var binary string

const (
	envRole  = "PREFORKD_TEST_ROLE" // what a child process does instead of running tests
	envAhead = "PREFORKD_TEST_AHEAD"
)

func TestMain(m *testing.M) {
	if os.Getenv(envRole) == "landlock" {
		os.Exit(landlockOnly())
	}
	if os.Getenv(envRole) != "" {
		state := Apply(os.Getenv(envAhead) == "1", os.Getenv(envRole) == "boxed")
		handler := tryForbidden
		if os.Getenv(envRole) == "echo" {
			handler = echo.Serve
		}
		worker.Serve(state.Handler(handler))
	}
	dir, err := os.MkdirTemp("", "confine")
	if err != nil {
		panic(err)
	}
	binary = dir + "/worker"
	build := exec.Command("go", "test", "-c", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// forbiddenCalls are calls that an attacker in control of a worker would make.
var forbiddenCalls = map[string]func() error{
	"open a file": func() error { return try(unix.Open("/etc/passwd", unix.O_RDONLY, 0)) },
	"write a file": func() error {
		return try(unix.Open("/tmp/preforkd-confine-test", unix.O_CREAT|unix.O_WRONLY, 0o600))
	},
	"list a directory": func() error { return try(unix.Open("/", unix.O_DIRECTORY, 0)) },
	"look at a file":   func() error { var st unix.Stat_t; return unix.Stat("/etc/passwd", &st) },
	"socket":           func() error { return try(unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)) },
	"unix socket":      func() error { return try(unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)) },
	"connect":          func() error { return unix.Connect(3, &unix.SockaddrInet4{Port: 1, Addr: [4]byte{127, 0, 0, 1}}) },
	"connect by send": func() error {
		return unix.Sendto(3, []byte("x"), unix.MSG_FASTOPEN, &unix.SockaddrInet4{Port: 1, Addr: [4]byte{127, 0, 0, 1}})
	},
	"listen":       func() error { return unix.Listen(3, 1) },
	"exec":         func() error { return unix.Exec("/bin/true", []string{"true"}, nil) },
	"fork":         func() error { return errno(unix.RawSyscall(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0)) },
	"unshare":      func() error { return unix.Unshare(unix.CLONE_NEWUSER) },
	"ptrace":       func() error { return unix.PtraceAttach(os.Getppid()) },
	"read memory":  func() error { return try(unix.ProcessVMReadv(os.Getppid(), nil, nil, 0)) },
	"kill":         func() error { return unix.Kill(os.Getppid(), 0) },
	"kill itself":  func() error { return unix.Kill(os.Getpid(), 0) },
	"tgkill":       func() error { return unix.Tgkill(os.Getppid(), os.Getppid(), 0) },
	"signal by fd": func() error { return try(unix.FcntlInt(3, unix.F_SETOWN, 1)) },
	"executable memory": func() error {
		return try(unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE))
	},
	"setuid":       func() error { return errno(unix.RawSyscall(unix.SYS_SETUID, 0, 0, 0)) },
	"privileges":   func() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) },
	"bpf":          func() error { return errno(unix.RawSyscall(unix.SYS_BPF, 0, 0, 0)) },
	"io_uring":     func() error { return errno(unix.RawSyscall(unix.SYS_IO_URING_SETUP, 1, 0, 0)) },
	"raise limits": func() error { return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{}) },
	"ioctl":        func() error { return unix.IoctlSetInt(0, unix.TIOCSTI, 0) },
	"x32":          func() error { return errno(unix.RawSyscall(0x40000000+unix.SYS_GETPID, 0, 0, 0)) },
}

func try[T any](_ T, err error) error { return err }

func errno(_, _ uintptr, errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

// tryForbidden makes every forbidden call, also on threads of its own. It tells the
// client which calls were not denied.
func tryForbidden(c *worker.Conn) error {
	tell := func(where string) {
		for name, attempt := range forbiddenCalls {
			if err := attempt(); !errors.Is(err, unix.EPERM) {
				fmt.Fprintf(c, "%s, %s: %v\n", name, where, err)
			}
		}
	}
	tell("main")
	var group sync.WaitGroup
	for range 5 {
		group.Go(func() {
			runtime.LockOSThread()
			tell("thread")
		})
	}
	group.Wait()
	fmt.Fprintln(c, "done")
	return nil
}

// run starts this test program as a worker and sends bytes to it. It returns the
// answer, the report, and the worker's stderr.
func run(t *testing.T, what string, ahead bool, wrap []string, send []byte) (string, ipc.Report, string) {
	t.Helper()
	server, client := sockettest.TCP(t)
	master, control, err := ipc.NewChannel()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(master)
	msg, err := (&ipc.Assignment{Connection: "c1", Settings: []ipc.Pair{{Key: ipc.SettingQuitWord, Value: quitWord(send)}}}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := ipc.Send(master, msg); err != nil {
		t.Fatal(err)
	}
	args := append(wrap, binary)
	cmd := exec.Command(args[0], args[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.Env = append(os.Environ(), envRole+"="+what)
	if ahead {
		cmd.Env = append(cmd.Env, envAhead+"=1")
	}
	cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(server), "connection"), os.NewFile(uintptr(control), "control")}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, f := range cmd.ExtraFiles {
		f.Close()
	}
	go func() {
		client.Write(send)
		client.CloseWrite()
	}()
	back, err := io.ReadAll(client)
	if err != nil {
		t.Errorf("read: %v", err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("worker: %v", err)
	}
	typ, body, err := ipc.Receive(master, make([]byte, ipc.MaxMessage), unix.MSG_DONTWAIT)
	if err != nil || typ != ipc.TypeReport {
		t.Fatalf("receive: %v, %v; stderr %s", typ, err, stderr.String())
	}
	report, err := ipc.DecodeReport(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(back), report, stderr.String()
}

// quitWord returns "exit" when the client sends that word.
func quitWord(send []byte) string {
	if bytes.Contains(send, []byte("exit\n")) {
		return "exit"
	}
	return ""
}

// needConfinement skips the test on kernels that cannot confine.
func needConfinement(t *testing.T, report ipc.Report) {
	t.Helper()
	for _, v := range report.Values {
		if v.Key == ipc.ValueUnconfined {
			needtest.Skip(t, "needs a kernel that confines fully: "+v.Value)
		}
	}
}

func TestForbiddenCallsAreDenied(t *testing.T) {
	for _, role := range []string{"escape", "boxed"} { // what there is without Landlock denies all by itself
		for _, ahead := range []bool{false, true} {
			back, report, stderr := run(t, role, ahead, nil, nil)
			needConfinement(t, report)
			if back != "done\n" || stderr != "" {
				t.Errorf("%s, ahead %v: not denied:\n%s\nstderr: %s", role, ahead, back, stderr)
			}
		}
	}
}

func TestEchoWorksInConfinement(t *testing.T) {
	bulk := bytes.Repeat([]byte("0123456789abcdef"), 1<<19)
	for name, test := range map[string]struct{ send, want string }{
		"little": {"hello", "hello"},
		"bulk":   {string(bulk), string(bulk)},
		"quit":   {"a\nexit\n" + strings.Repeat("more", 1<<16), "a\n"},
	} {
		for _, ahead := range []bool{false, true} {
			t.Run(fmt.Sprint(name, "/ahead=", ahead), func(t *testing.T) {
				back, report, stderr := run(t, "echo", ahead, nil, []byte(test.send))
				if back != test.want || stderr != "" || report.BytesOut != uint64(len(test.want)) {
					t.Errorf("%d bytes came back, want %d; report %+v; stderr %q", len(back), len(test.want), report, stderr)
				}
			})
		}
	}
}

// A normal worker makes no call that is denied, so the audit log stays empty. strace
// shows what the kernel answered.
func TestNormalCallsAreAllowed(t *testing.T) {
	strace := needtest.Program(t, "strace")
	bulk := bytes.Repeat([]byte("0123456789abcdef"), 1<<17)
	for _, ahead := range []bool{false, true} {
		trace := t.TempDir() + "/trace"
		back, _, _ := run(t, "echo", ahead, []string{strace, "-f", "-qq", "-o", trace}, bulk)
		if back != string(bulk) {
			t.Errorf("%d of %d bytes came back", len(back), len(bulk))
		}
		out, err := os.ReadFile(trace)
		if err != nil {
			t.Fatal(err)
		}
		_, confined, found := strings.Cut(string(out), "SECCOMP_SET_MODE_FILTER")
		if !found {
			t.Fatal("no filter was installed")
		}
		for line := range strings.Lines(confined) {
			if strings.Contains(line, "EPERM") || strings.Contains(line, "EACCES") || strings.Contains(line, "ENOSYS") {
				t.Errorf("denied: %s", line)
			}
		}
	}
}

// landlockOnly puts a process into a Landlock domain without a filter. It returns 0
// when all threads are denied to open a file. It returns 77 when the kernel has no
// Landlock.
func landlockOnly() int {
	ruleset, err := newRuleset()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 77
	}
	// As Apply does: an ordinary user may restrict only a thread that can gain no
	// privileges.
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "no_new_privs:", err)
		return 1
	}
	var threads sync.WaitGroup
	tell := make(chan struct{})
	code := 0
	var mu sync.Mutex
	probe := func() {
		_, err := unix.Open("/etc/passwd", unix.O_RDONLY, 0)
		if err != unix.EACCES {
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintln(os.Stderr, "open:", err)
			code = 1
		}
	}
	for range 5 { // threads that exist before the domain
		threads.Go(func() {
			runtime.LockOSThread()
			<-tell
			probe()
		})
	}
	if err := enterDomain(ruleset, true, false); err != nil {
		fmt.Fprintln(os.Stderr, "restrict:", err)
		return 1
	}
	close(tell)
	threads.Wait()
	probe()
	return code
}

func TestLandlockOnly(t *testing.T) {
	cmd := exec.Command(binary)
	cmd.Env = append(os.Environ(), envRole+"=landlock")
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() == 77 {
		needtest.Skip(t, "needs a kernel with Landlock: "+strings.TrimSpace(string(out)))
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// The filter is short enough for its jumps, with this machine's rules.
func TestFilterFits(t *testing.T) {
	var f filter
	f.addRules()
	f.translate(auditArch)
	t.Logf("%d rules, %d instructions", f.count, f.length)
	for i, ins := range f.code[:f.length] {
		if ins.Code&7 == unix.BPF_JMP && (i+1+int(ins.Jt) >= f.length || i+1+int(ins.Jf) >= f.length) {
			t.Errorf("instruction %d jumps out of the filter", i)
		}
	}
	for i := 1; i < f.count; i++ {
		if f.rules[i-1].number >= f.rules[i].number {
			t.Errorf("rules %d and %d are in no order", i-1, i)
		}
	}
}
