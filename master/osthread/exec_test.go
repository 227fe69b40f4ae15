package osthread

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/procname"
)

// init does in the helper process what an init function of a program does.
func init() {
	if h := os.Getenv(helper); h == "exec" || h == "executed" {
		TakeSlack()
		procname.Restore(os.Args)
	}
}

// withoutCapability executes this program, without the capability, with a slack of as many
// ns as the variable says, and with SIGUSR1 blocked if there is a variable for that.
func withoutCapability() {
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_NICE, 0, 0, 0) // who may not has none to drop
	if slack, err := strconv.ParseInt(os.Getenv("SLACK"), 10, 64); err == nil {
		setSlack(slack)
	}
	if os.Getenv("BLOCKED") != "" {
		set := unix.Sigset_t{}
		set.Val[0] = 1 << (unix.SIGUSR1 - 1)
		if err := unix.PthreadSigmask(unix.SIG_BLOCK, &set, nil); err != nil {
			panic(err)
		}
	}
	if path := os.Getenv("REPLACE"); path != "" {
		if err := os.Rename(path, os.Args[0]); err != nil {
			panic(err)
		}
	}
	os.Setenv(helper, "exec")
	panic(ExecAgain(os.Environ()))
}

// execRelaxed is what withoutCapability executes. It prints what slack is known as usual,
// what the main thread and a child have in the end, and whether the process is the same. It
// cannot look at the monitor without the capability.
func execRelaxed() {
	if err := ExecRelaxed(); err != nil {
		panic(err)
	}
	own, err := os.ReadFile("/proc/self/timerslack_ns")
	if err != nil {
		panic(err)
	}
	child := exec.Cmd{Path: "/bin/cat", Args: []string{"cat", "/proc/self/timerslack_ns"}, Stdout: os.Stdout, Stderr: os.Stderr}
	fmt.Printf("%d %s", usualSlack.Load(), own)
	if err := StartUsual(child.Start); err != nil {
		panic(err)
	}
	if err := child.Wait(); err != nil {
		panic(err)
	}
	name, _ := os.ReadFile("/proc/self/comm")
	_, found := os.LookupEnv(envUsualSlack)
	fmt.Printf("%d %s%v\n", os.Getpid(), name, found)
}

// A program that may not change the monitor's slack is executed once more, and only once,
// and what it was started with is known again afterwards.
func TestExecRelaxed(t *testing.T) {
	own, err := os.ReadFile("/proc/self/timerslack_ns")
	if err != nil {
		t.Fatal(err)
	}
	usual := strings.TrimSpace(string(own))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	comm := self[strings.LastIndex(self, "/")+1:]
	comm = comm[:min(len(comm), 15)]
	relaxed := fmt.Sprint(monitorSlack.Nanoseconds())
	for name, c := range map[string]struct {
		env         []string
		known       string // what usual slack is known; 0 where the monitor is as it was
		main, child string
	}{
		"plain":               {nil, usual, usual, usual},
		"less":                {[]string{"SLACK=30000"}, "30000", "30000", "30000"},
		"one":                 {[]string{"SLACK=1"}, "1", "1", "1"},
		"as much":             {[]string{"SLACK=" + relaxed}, "0", relaxed, relaxed},
		"more":                {[]string{"SLACK=3000000"}, "0", "3000000", "3000000"},
		"signals are blocked": {[]string{"BLOCKED=1"}, "0", usual, usual},
		"garbage":             {[]string{envUsualSlack + "=5x"}, usual, usual, usual},
		"empty":               {[]string{envUsualSlack + "="}, usual, usual, usual},
		"negative":            {[]string{envUsualSlack + "=-1"}, usual, usual, usual},
		"nothing":             {[]string{envUsualSlack + "=0"}, usual, usual, usual},
		"not less":            {[]string{envUsualSlack + "=" + relaxed}, usual, usual, usual},
		"not of an exec":      {[]string{envUsualSlack + "=30000"}, "0", usual, usual},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(self)
			// A thread that the monitor of an earlier test has started may start this one.
			cmd.Env = append(append(os.Environ(), helper+"=capability", "SLACK="+usual), c.env...)
			out, err := cmd.CombinedOutput()
			if want := fmt.Sprintf("%s %s\n%s\n%d %s\nfalse\n", c.known, c.main, c.child, cmd.Process.Pid, comm); err != nil || string(out) != want {
				t.Errorf("%v, %q; want %q", err, out, want)
			}
		})
	}
}

// When another file is at its path by then, as after an upgrade of a package, the program
// is executed that runs.
func TestExecOfReplacedFile(t *testing.T) {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path, other := filepath.Join(dir, "program"), filepath.Join(dir, "other")
	for name, content := range map[string][]byte{path: self, other: []byte("#!/bin/sh\necho another program\n")} {
		if err := os.WriteFile(name, content, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(path)
	cmd.Env = append(os.Environ(), helper+"=capability", "REPLACE="+other)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), fmt.Sprintf("%d exe\nfalse\n", cmd.Process.Pid)) {
		t.Errorf("%v, %q", err, out)
	}
}

// execFile is a helper process that executes the file FILE names, whose path leads to the
// file REPLACE by then, if that is not empty. All signals that can be are blocked. If RELAX
// is not empty, the monitor counts as relaxed.
func execFile() {
	runtime.LockOSThread()
	if os.Getenv("RELAX") != "" {
		usual, err := slackToRelax()
		if usual == 0 {
			panic(err)
		}
		usualSlack.Store(usual)
	}
	file, err := os.Open(os.Getenv("FILE"))
	if err != nil {
		panic(err)
	}
	if path := os.Getenv("REPLACE"); path != "" {
		if err := os.Rename(path, file.Name()); err != nil {
			panic(err)
		}
	}
	all := unix.Sigset_t{}
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, nil); err != nil {
		panic(err)
	}
	// They wait for the thread, and would end the program.
	for _, sig := range deadly {
		if err := unix.Tgkill(unix.Getpid(), unix.Gettid(), sig); err != nil {
			panic(err)
		}
	}
	os.Setenv(helper, "executed")
	panic(ExecFile(file, []string{"/somewhere/a-program", "argument"}, os.Environ()))
}

// afterExecFile is what execFile executes. It prints who it is, its timer slack and what it
// knows of it, whether its soft limit of open files is the hard one, and which signals the
// process and its children block, one line each.
func afterExecFile() {
	name, _ := os.ReadFile("/proc/self/comm")
	fmt.Println(os.Getpid(), os.Args, strings.TrimSpace(string(name)))
	own, err := os.ReadFile("/proc/self/timerslack_ns")
	if err != nil {
		panic(err)
	}
	_, found := os.LookupEnv(envUsualSlack)
	fmt.Println(usualSlack.Load(), strings.TrimSpace(string(own)), found)
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		panic(err)
	}
	fmt.Println(files.Cur == files.Max)
	fmt.Println("blocked", signalsBlocked())
	// Those that are blocked and those that were ignored can be caught.
	caught := make(chan os.Signal, 8)
	for _, sig := range append([]unix.Signal{unix.SIGUSR1}, deadly...) {
		signal.Notify(caught, sig)
		if err := unix.Kill(unix.Getpid(), sig); err != nil {
			panic(err)
		}
		fmt.Println(<-caught)
	}
	start := func(start func(func() error) error) {
		child := exec.Cmd{Path: "/bin/grep", Args: []string{"grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"}, Stdout: os.Stdout, Stderr: os.Stderr}
		if err := start(child.Start); err != nil {
			panic(err)
		}
		if err := child.Wait(); err != nil {
			panic(err)
		}
	}
	// Each on a thread that still blocks what the program was executed with.
	for _, f := range []func(func() error) error{StartUsual, StartRelaxed, Run, func(f func() error) error { return StartWith(time.Millisecond, f) }} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread() // and the thread ends
			set := unix.Sigset_t{}
			set.Val[0] = 1<<(unix.SIGUSR1-1) | 1<<(unix.SIGCHLD-1)
			if err := unix.PthreadSigmask(unix.SIG_BLOCK, &set, nil); err != nil {
				panic(err)
			}
			start(f)
		}()
		<-done
	}
}

// Another program is executed in the same process, with what it needs to know of this one,
// and starts its children with no signal blocked.
func TestExecFile(t *testing.T) {
	usual, err := os.ReadFile("/proc/self/timerslack_ns")
	if err != nil {
		t.Fatal(err)
	}
	slack := strings.TrimSpace(string(usual))
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		relax, replace bool
		name, known    string
	}{
		"as it is":         {false, false, "another", "0"},
		"relaxed":          {true, false, "another", slack},
		"replaced":         {false, true, "a-program", "0"},
		"replaced-relaxed": {true, true, "a-program", slack},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path, other := filepath.Join(dir, "another"), filepath.Join(dir, "third")
			for name, content := range map[string][]byte{path: self, other: []byte("#!/bin/sh\necho a third program\n")} {
				if err := os.WriteFile(name, content, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), helper+"=file", "FILE="+path)
			if c.relax {
				cmd.Env = append(cmd.Env, "RELAX=1")
			}
			if c.replace {
				cmd.Env = append(cmd.Env, "REPLACE="+other)
			}
			out, err := cmd.CombinedOutput()
			want := fmt.Sprintf("%d [/somewhere/a-program argument] %s\n%s %s false\ntrue\nblocked true\nuser defined signal 1\nhangup\ninterrupt\nquit\nterminated\n%s", cmd.Process.Pid, c.name, c.known, slack,
				strings.Repeat("SigBlk:\t0000000000000000\nSigIgn:\t"+ignored(t)+"\n", 4))
			if err != nil || string(out) != want {
				t.Errorf("%v, %q; want %q", err, out, want)
			}
		})
	}
}

// ignored returns which signals this process ignores, in hexadecimal: so do those that it
// starts. Go ignores none.
func ignored(t *testing.T) string {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "SigIgn:\t")
	set, _, _ := strings.Cut(rest, "\n")
	return set
}

// A failed exec of another program leaves the slack, the limit and the signals as they were.
func TestExecFileFails(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer usualSlack.Store(usualSlack.Swap(40_000))
	before, err := ownSlack()
	if err != nil {
		t.Fatal(err)
	}
	defer setSlack(before)
	setSlack(40_000)
	var limit, after unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("no program"), 0o755); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	env := make([]string, 1, 10)
	env[0] = "A=1"
	if err := ExecFile(file, []string{"program"}, env); !errors.Is(err, unix.ENOEXEC) || !strings.Contains(err.Error(), path) {
		t.Errorf("%v, want %v", err, unix.ENOEXEC)
	}
	if now, err := ownSlack(); now != 40_000 || err != nil {
		t.Errorf("the thread has a slack of %d, %v", now, err)
	}
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &after); err != nil || after != limit {
		t.Errorf("the limit of descriptors is %+v, %v; was %+v", after, err, limit)
	}
	caught := make(chan os.Signal, 1)
	for _, sig := range deadly {
		signal.Notify(caught, sig)
		if err := unix.Kill(unix.Getpid(), sig); err != nil {
			t.Fatal(err)
		}
		if got := <-caught; got != sig {
			t.Errorf("got %v, want %v", got, sig)
		}
	}
	signal.Stop(caught)
	if env[:2][1] != "" {
		t.Errorf("the environment of the caller was changed: %q", env[:2])
	}
	file.Close()
	if err := ExecFile(file, []string{"program"}, nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("of a closed file: %v", err)
	}
}

// A failed exec changes nothing but that: the program goes on.
func TestExecFails(t *testing.T) {
	var before, after unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	err := ExecAgain([]string{"TOO_LONG=" + strings.Repeat("x", 1<<20)})
	if err == nil || !strings.Contains(err.Error(), unix.E2BIG.Error()) {
		t.Errorf("%v, want %v", err, unix.E2BIG)
	}
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &after); err != nil || after != before {
		t.Errorf("the limit of descriptors is %+v, %v; was %+v", after, err, before)
	}
}
