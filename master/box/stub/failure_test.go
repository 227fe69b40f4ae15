package stub

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/needtest"
)

// What the kernel refuses arrives as that step with its errno. The program is
// not executed, and the exit code says that there is a report.
func TestFailures(t *testing.T) {
	needtest.Root(t)
	directory := t.TempDir()
	script := filepath.Join(directory, "script")
	if err := os.WriteFile(script, []byte("\x00"), 0o755); err != nil {
		t.Fatal(err)
	}
	nobody := as(stranger)
	for _, c := range []struct {
		entry  Entry
		as     func(*exec.Cmd)
		want   Failure
		native bool // the emulator answers otherwise
	}{
		{Entry{Limits: []Limit{{unix.RLIMIT_CORE, 0, 0}, {unix.RLIMIT_NOFILE, 5, 4}}}, nil, Failure{Step{SetLimit, unix.RLIMIT_NOFILE}, unix.EINVAL}, false},
		{Entry{Limits: []Limit{{99, 0, 0}}}, nil, Failure{Step{SetLimit, 99}, unix.EINVAL}, false},
		{Entry{Nice: new(-5)}, nobody, Failure{Step{Action: SetNice}, unix.EACCES}, false},
		{Entry{IOPriority: new(7 << 13)}, nil, Failure{Step{Action: SetIOPriority}, unix.EINVAL}, false},
		{Entry{Affinity: make([]byte, 8)}, nil, Failure{Step{Action: SetAffinity}, unix.EINVAL}, false},
		{Entry{DropBounding: []int{200}}, nil, Failure{Step{DropBounding, 200}, unix.EINVAL}, false},
		{Entry{DropBounding: []int{unix.CAP_KILL}}, nobody, Failure{Step{DropBounding, unix.CAP_KILL}, unix.EPERM}, false},
		{Entry{SetCapabilities: true, Capabilities: 1 << unix.CAP_KILL}, nobody, Failure{Step{Action: SetCapabilities}, unix.EPERM}, false},
		// The kernel leaves out what it does not know, until it is to be ambient.
		{Entry{SetCapabilities: true, Capabilities: 1 << 63}, nil, Failure{Step{RaiseAmbient, 63}, unix.EINVAL}, false},
		{Entry{Directory: "/nowhere"}, nil, Failure{Step{Action: ChangeDirectory}, unix.ENOENT}, false},
		// The rights are those of the program.
		{Entry{Directory: directory, SetCapabilities: true}, as(stranger, unix.CAP_DAC_OVERRIDE), Failure{Step{Action: ChangeDirectory}, unix.EACCES}, false},
		{Entry{Filter: allowAll}, nobody, Failure{Step{Action: InstallFilter}, unix.EACCES}, true},
		{Entry{NoNewPrivileges: true, Filter: []unix.SockFilter{{Code: 0xffff}}}, nil, Failure{Step{Action: InstallFilter}, unix.EINVAL}, true},
		{Entry{Path: "/nowhere"}, nil, Failure{Step{Action: Execute}, unix.ENOENT}, false},
		{Entry{Path: "/proc"}, nil, Failure{Step{Action: Execute}, unix.EACCES}, false},
		{Entry{Path: script}, nil, Failure{Step{Action: Execute}, unix.ENOEXEC}, false},
	} {
		if c.entry.Path == "" {
			c.entry.Path = needtest.Program(t, "echo")
		}
		t.Run(strings.ReplaceAll(c.want.Error(), " ", "-"), func(t *testing.T) {
			eachTarget(t, func(t *testing.T, m target) {
				if c.native && m != own {
					return
				}
				r := m.run(t, c.entry, c.as, "echo", "executed")
				if r.failure != c.want || r.code != ExitFailed || r.out != "" {
					t.Errorf("%+v, want %v", r, c.want)
				}
			})
		})
	}
}

// There may be nobody who reads the report. The entry ends all the same.
func TestNoReport(t *testing.T) {
	eachTarget(t, func(t *testing.T, m target) {
		e := Entry{Report: 77, Path: needtest.Program(t, "echo")}
		image, err := e.image(m.goarch)
		if err != nil {
			t.Fatal(err)
		}
		if r := m.runImage(t, file(t, image), nil, "echo", "executed"); r.code != ExitFailed || r.out != "" {
			t.Errorf("%+v", r)
		}
	})
}

// wholeEntry has every step.
func wholeEntry(path string) Entry {
	return Entry{
		Limits:          []Limit{{unix.RLIMIT_CORE, 0, 0}, {unix.RLIMIT_NOFILE, 99, 99}},
		Nice:            new(1),
		IOPriority:      new(2<<13 | 6),
		Affinity:        []byte{1, 0, 0, 0, 0, 0, 0, 0},
		DropBounding:    []int{unix.CAP_NET_RAW, unix.CAP_SYS_BOOT},
		SetCapabilities: true,
		Capabilities:    1<<unix.CAP_KILL | 1<<unix.CAP_CHOWN,
		Directory:       "/",
		NoNewPrivileges: true,
		Filter:          allowAll,
		Path:            path,
	}
}

// Whichever step fails, its report is told from the others'. A filter of another
// entry makes them fail.
func TestEveryStep(t *testing.T) {
	needtest.Root(t)
	e := wholeEntry(needtest.Program(t, "echo"))
	// The report descriptor of the outer entry is closed when the inner one runs.
	twice := func(cmd *exec.Cmd) { cmd.ExtraFiles = append(cmd.ExtraFiles, cmd.ExtraFiles...) }
	e.Report, e.Self = 4, 2
	image, err := e.Image()
	if err != nil {
		t.Fatal(err)
	}
	path := file(t, image)
	if r := own.runImage(t, path, twice, "echo", "executed"); r.out != "executed\n" {
		t.Fatalf("nothing fails: %+v", r)
	}
	for _, c := range []struct {
		call      uint32
		arguments []uint32 // the first of the call
		want      Step
	}{
		{unix.SYS_FCNTL, []uint32{4, unix.F_SETFD}, Step{Action: CloseReportOnExec}},
		{unix.SYS_FCNTL, []uint32{2, unix.F_SETFD}, Step{Action: CloseSelfOnExec}},
		{unix.SYS_PRLIMIT64, []uint32{0, unix.RLIMIT_CORE}, Step{SetLimit, unix.RLIMIT_CORE}},
		{unix.SYS_PRLIMIT64, []uint32{0, unix.RLIMIT_NOFILE}, Step{SetLimit, unix.RLIMIT_NOFILE}},
		{unix.SYS_SETPRIORITY, []uint32{0, 0, 1}, Step{Action: SetNice}},
		{unix.SYS_IOPRIO_SET, []uint32{1, 0}, Step{Action: SetIOPriority}},
		{unix.SYS_SCHED_SETAFFINITY, []uint32{0, 8}, Step{Action: SetAffinity}},
		{unix.SYS_PRCTL, []uint32{unix.PR_CAPBSET_DROP, unix.CAP_NET_RAW}, Step{DropBounding, unix.CAP_NET_RAW}},
		{unix.SYS_PRCTL, []uint32{unix.PR_CAPBSET_DROP, unix.CAP_SYS_BOOT}, Step{DropBounding, unix.CAP_SYS_BOOT}},
		{unix.SYS_PRCTL, []uint32{unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0}, Step{Action: ClearAmbient}},
		{unix.SYS_CAPSET, nil, Step{Action: SetCapabilities}},
		{unix.SYS_PRCTL, []uint32{unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_CHOWN, 0, 0}, Step{RaiseAmbient, unix.CAP_CHOWN}},
		{unix.SYS_PRCTL, []uint32{unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_KILL, 0, 0}, Step{RaiseAmbient, unix.CAP_KILL}},
		{unix.SYS_CHDIR, nil, Step{Action: ChangeDirectory}},
		{unix.SYS_PRCTL, []uint32{unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0}, Step{Action: SetNoNewPrivileges}},
		{unix.SYS_SECCOMP, []uint32{unix.SECCOMP_SET_MODE_FILTER, 0}, Step{Action: InstallFilter}},
	} {
		const errno = unix.EXFULL // which none of these calls returns
		outer := Entry{NoNewPrivileges: true, Filter: refuse(c.call, errno, c.arguments...), Path: path}
		r := own.run(t, outer, twice, "echo", "executed")
		if want := (Failure{c.want, errno}); r.failure != want || r.code != ExitFailed || r.out != "" {
			t.Errorf("%+v, want %v", r, want)
		}
	}
}

// allowAll is a filter that does nothing.
var allowAll = []unix.SockFilter{ret(unix.SECCOMP_RET_ALLOW)}

func ret(action uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
}

// loadWord loads 32 bits of struct seccomp_data (seccomp(2)).
func loadWord(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

// skipUnless skips some instructions unless the word has this value.
func skipUnless(value uint32, skipped int) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jf: uint8(skipped)}
}

// argumentWord is the place of the lower half of an argument.
func argumentWord(n int) uint32 { return 16 + 8*uint32(n) }

// refuse returns a filter that refuses a call with these first arguments.
func refuse(call uint32, errno unix.Errno, arguments ...uint32) []unix.SockFilter {
	rest := 1 + 2*len(arguments)
	filter := []unix.SockFilter{loadWord(0), skipUnless(call, rest)}
	for i, a := range arguments {
		rest -= 2
		filter = append(filter, loadWord(argumentWord(i)), skipUnless(a, rest))
	}
	return append(filter, ret(unix.SECCOMP_RET_ERRNO|uint32(errno)), ret(unix.SECCOMP_RET_ALLOW))
}

// unlessCookie returns a filter that does something to calls of an entry unless
// their fourth argument, or that of execveat which is the sixth, is the cookie.
func unlessCookie(action uint32, cookie uint64, calls ...uint32) (filter []unix.SockFilter) {
	for _, call := range calls {
		word := argumentWord(3)
		if call == unix.SYS_EXECVEAT {
			word = argumentWord(5)
		}
		filter = append(filter, loadWord(0), skipUnless(call, 6),
			loadWord(word), skipUnless(uint32(cookie), 3),
			loadWord(word+4), skipUnless(uint32(cookie>>32), 1),
			ret(unix.SECCOMP_RET_ALLOW), ret(action))
	}
	return append(filter, ret(unix.SECCOMP_RET_ALLOW))
}

// An entry passes its own filter with the cookie, to execute the program as well
// as to report that it cannot. The program does not pass.
func TestCookie(t *testing.T) {
	const cookie = 0xfedcba9876543210
	calls := []uint32{unix.SYS_EXECVE, unix.SYS_WRITE, unix.SYS_EXIT_GROUP}
	sh := needtest.Program(t, "sh")
	kill := unlessCookie(unix.SECCOMP_RET_KILL_PROCESS, cookie, calls...)
	e := Entry{NoNewPrivileges: true, Filter: kill, Cookie: cookie, Path: "/nowhere"}
	if r := own.run(t, e, nil, "sh"); r.code != ExitFailed || r.failure != (Failure{Step{Action: Execute}, unix.ENOENT}) {
		t.Errorf("no program: %+v", r)
	}
	e.Path = sh
	if r := own.run(t, e, nil, "sh", "-c", "echo executed"); r.signal != syscall.SIGSYS || r.out != "" {
		t.Errorf("the program writes: %+v", r)
	}
	e.Filter = unlessCookie(unix.SECCOMP_RET_ERRNO|uint32(unix.EPERM), cookie, unix.SYS_EXECVE)
	if r := own.run(t, e, nil, "sh", "-c", "/bin/true || echo refused; cat /proc/self/status"); !strings.Contains(r.out, "refused\n") || strings.Contains(r.out, "Seccomp:") {
		t.Errorf("the program executes another: %+v", r)
	}
	// A program that is executed by its descriptor passes as well, and does not have it.
	e.Filter = unlessCookie(unix.SECCOMP_RET_ERRNO|uint32(unix.EPERM), cookie, unix.SYS_EXECVE, unix.SYS_EXECVEAT)
	e.Path, e.Program = "/nowhere", 4 // after the report
	open := func(cmd *exec.Cmd) {
		program, err := os.Open(sh)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { program.Close() })
		cmd.ExtraFiles = append(cmd.ExtraFiles, program)
	}
	if r := own.run(t, e, open, "sh", "-c", "/bin/true 2>/dev/null || echo refused; test -e /proc/self/fd/4 || echo closed"); r.out != "refused\nclosed\n" {
		t.Errorf("a program by its descriptor: %+v", r)
	}
	if r := own.run(t, e, nil, "sh"); r.code != ExitFailed || r.failure.Step.Action != CloseProgramOnExec && r.failure.Step.Action != Execute {
		t.Errorf("no descriptor of a program: %+v", r)
	}
	for _, wrong := range []uint64{0, cookie + 1, cookie ^ 1<<63} {
		e := Entry{NoNewPrivileges: true, Filter: kill, Cookie: wrong, Path: sh}
		if r := own.run(t, e, nil, "sh", "-c", "exit 0"); r.signal != syscall.SIGSYS || r.failure != (Failure{}) {
			t.Errorf("cookie %x: %+v", wrong, r)
		}
	}
}

// The program has the filter.
func TestFilterStays(t *testing.T) {
	e := Entry{NoNewPrivileges: true, Filter: allowAll, Path: needtest.Program(t, "cat")}
	r := own.run(t, e, nil, "cat", "/proc/self/status")
	if field(t, r.out, "Seccomp:") != "2" || field(t, r.out, "NoNewPrivs:") != "1" {
		t.Errorf("%+v", r)
	}
	// The largest filter that the kernel takes.
	e.Filter = append(make([]unix.SockFilter, 0, 4096), loadWord(0))
	for len(e.Filter) < 4095 {
		e.Filter = append(e.Filter, skipUnless(0xffff, 0))
	}
	e.Filter = append(e.Filter, ret(unix.SECCOMP_RET_ALLOW))
	if r := own.run(t, e, nil, "cat", "/proc/self/status"); field(t, r.out, "Seccomp:") != "2" {
		t.Errorf("%+v", r)
	}
}

// What cannot be a constant of an image is refused before there is a process.
func TestImageErrors(t *testing.T) {
	for _, c := range []struct {
		entry Entry
		want  string
	}{
		{Entry{}, "no program"},
		{Entry{Path: "/a\x00b"}, "zero byte"},
		{Entry{Path: "/a", Directory: "\x00"}, "zero byte"},
		{Entry{Path: "/a", Report: -1}, "no descriptor"},
		{Entry{Path: "/a", Limits: []Limit{{Resource: -1}}}, "resource -1"},
		{Entry{Path: "/a", Limits: []Limit{{Resource: 1 << 16}}}, "resource 65536"},
		{Entry{Path: "/a", DropBounding: []int{-1}}, "capability -1"},
		{Entry{Path: "/a", DropBounding: []int{1 << 16}}, "capability 65536"},
		{Entry{Path: "/a", Filter: make([]unix.SockFilter, 4097)}, "4097 instructions"},
	} {
		if image, err := c.entry.Image(); image != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %s", c.entry, err, c.want)
		}
	}
	e := Entry{Path: "/a"}
	if _, err := e.image("riscv64"); err == nil || !strings.Contains(err.Error(), "riscv64") {
		t.Errorf("riscv64: %v", err)
	}
	i := Init{Mounts: []Mount{{Data: "\x00"}}}
	if _, err := i.Image(); err == nil || !strings.Contains(err.Error(), "zero byte") {
		t.Errorf("a mount: %v", err)
	}
}

// A failure is an error in words, and its errno is found in it.
func TestFailureIsError(t *testing.T) {
	err := error(Failure{Step{SetLimit, unix.RLIMIT_NOFILE}, unix.EPERM})
	if err.Error() != "set limit-nofile: operation not permitted" || !errors.Is(err, unix.EPERM) {
		t.Errorf("%v", err)
	}
	words := map[string]bool{}
	for a := Action(1); a < endOfActions; a++ {
		text := Step{a, 3}.String()
		if strings.HasPrefix(text, "step ") || words[text] {
			t.Errorf("action %d is %q", a, text)
		}
		words[text] = true
	}
}

// Whatever the bytes are, there is a failure that exists or an error.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", "\x01\x00\x00\x00\x01\x00\x00\x00", "\x00\x00\x00\x00\x00\x00\x00\x00", "\xff\xff\x00\x00\x01\x00\x00\x00", "\x01\x00\x00\x00\xff\xff\xff\xff", "e", "l"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		failure, err := ParseFailure(message)
		ready := ParseReady(message)
		if err == nil {
			if strings.HasPrefix(failure.Step.String(), "step ") || failure.Errno == 0 || ready != failure {
				t.Errorf("%q: %v, %v", message, failure, ready)
			}
		} else if (ready == nil) != (string(message) == strings.Repeat("\x00", 8)) {
			t.Errorf("%q: %v", message, ready)
		}
		if empty, err := ParseAnswer(message); (err == nil) != (string(message) == "e" || string(message) == "l") || empty != (string(message) == "e") {
			t.Errorf("%q: %v, %v", message, empty, err)
		}
	})
}

// The numbers of system calls are those of this machine.
func TestNumbers(t *testing.T) {
	m, err := machineOf(runtime.GOARCH)
	if err != nil {
		needtest.SkipAnywhere(t, "is for machines that images are made for: "+err.Error())
	}
	for name, want := range map[string]uint64{
		"read": unix.SYS_READ, "write": unix.SYS_WRITE, "rt_sigaction": unix.SYS_RT_SIGACTION, "nanosleep": unix.SYS_NANOSLEEP,
		"execve": unix.SYS_EXECVE, "execveat": unix.SYS_EXECVEAT, "kill": unix.SYS_KILL, "fcntl": unix.SYS_FCNTL, "chdir": unix.SYS_CHDIR, "capset": unix.SYS_CAPSET,
		"setpriority": unix.SYS_SETPRIORITY, "prctl": unix.SYS_PRCTL, "mount": unix.SYS_MOUNT, "umount2": unix.SYS_UMOUNT2, "faccessat": unix.SYS_FACCESSAT, "sethostname": unix.SYS_SETHOSTNAME,
		"sched_setaffinity": unix.SYS_SCHED_SETAFFINITY, "exit_group": unix.SYS_EXIT_GROUP, "ioprio_set": unix.SYS_IOPRIO_SET,
		"getpid": unix.SYS_GETPID, "newfstatat": unix.SYS_NEWFSTATAT, "statfs": unix.SYS_STATFS, "shmctl": unix.SYS_SHMCTL, "semctl": unix.SYS_SEMCTL, "msgctl": unix.SYS_MSGCTL, "prlimit64": unix.SYS_PRLIMIT64, "seccomp": unix.SYS_SECCOMP, "close_range": unix.SYS_CLOSE_RANGE,
	} {
		if got, ok := m.number(name); !ok || got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
	for name := range amd64Numbers {
		if _, ok := arm64Numbers[name]; !ok {
			t.Errorf("arm64 has no %s", name)
		}
	}
}
