package observe

import (
	"reflect"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/box/seccomp"
	"github.com/preforkd/preforkd/master/box/syscalls"
)

// nativeArch is how a filter sees this architecture.
var nativeArch = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}[runtime.GOARCH]

func callOf(t *testing.T, name string, arguments ...uint64) *systemCall {
	t.Helper()
	number, found := syscalls.Number(runtime.GOARCH, name)
	if !found {
		t.Fatalf("there is no %s here", name)
	}
	c := &systemCall{Number: uint32(number), Arch: nativeArch}
	copy(c.Arguments[:], arguments)
	return c
}

// subjectOf returns a Subject that learns of a box.
func subjectOf(t *testing.T, c seccomp.Config, list ...string) *Subject {
	t.Helper()
	s := &Subject{Kill: c.Action == seccomp.Kill, Learner: &Learner{}, Allows: func(string) bool { return true }}
	if len(list) > 0 {
		policy, err := syscalls.Expand(list)
		if err != nil {
			t.Fatal(err)
		}
		c.Policy = &policy
		s.Allows = func(name string) bool { return policy.Decide(name) == syscalls.Allowed }
	}
	c.Notice = seccomp.NoticeDenied
	program, err := seccomp.Compile(runtime.GOARCH, c)
	if err == nil {
		s.Judge, err = seccomp.NewJudge(program)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What goes on is learned, with what its arguments need. What the box denies is not, and
// is counted apart.
func TestLearn(t *testing.T) {
	const writeExec = unix.PROT_WRITE | unix.PROT_EXEC
	everything := seccomp.Config{RestrictNamespaces: true, RestrictRealtime: true, RestrictSUIDSGID: true, LockPersonality: true, MemoryDenyWriteExecute: true, AddressFamilies: []int{unix.AF_UNIX}}
	for name, test := range map[string]struct {
		config seccomp.Config
		list   []string
		calls  []*systemCall
		want   Result
	}{
		"nothing": {},
		"what every list has": {
			calls: []*systemCall{callOf(t, "getpid"), callOf(t, "mmap", 0, 4096, unix.PROT_READ|unix.PROT_EXEC)},
		},
		"a call, often": {
			calls: []*systemCall{callOf(t, "read"), callOf(t, "read", 5), callOf(t, "close")},
			want:  Result{Calls: []string{"close", "read"}},
		},
		"what restrictions would deny": {
			calls: []*systemCall{
				callOf(t, "mmap", 0, 4096, writeExec), callOf(t, "unshare", unix.CLONE_NEWNET), callOf(t, "fchmod", 0, 0o4755), callOf(t, "sched_setscheduler", 0, unix.SCHED_FIFO),
				callOf(t, "personality", 0x40000),
			},
			want: Result{
				Calls: []string{"fchmod", "personality", "sched_setscheduler", "unshare"},
				Needs: []string{"lock-personality", "memory-deny-write-execute", "restrict-namespaces", "restrict-realtime", "restrict-suid-sgid"},
			},
		},
		"what they would not": {
			calls: []*systemCall{callOf(t, "unshare", unix.CLONE_FS), callOf(t, "fchmod", 0, 0o755), callOf(t, "sched_setscheduler", 0, unix.SCHED_BATCH), callOf(t, "personality", 0xffffffff)},
			want:  Result{Calls: []string{"fchmod", "personality", "sched_setscheduler", "unshare"}},
		},
		"families": {
			calls: []*systemCall{callOf(t, "socket", unix.AF_INET6|7<<32), callOf(t, "socketpair", unix.AF_UNIX), callOf(t, "socket", 12345)},
			want:  Result{Calls: []string{"socket", "socketpair"}, Families: []string{"inet6", "unix"}},
		},
		"a ring, in which sockets are made unseen": {
			calls: []*systemCall{callOf(t, "io_uring_setup")},
			want:  Result{Calls: []string{"io_uring_setup"}, AnyFamily: true, Needs: []string{"restrict-suid-sgid"}},
		},
		"a call that a restriction has programs do without": {
			calls: []*systemCall{callOf(t, "clone3")},
			want:  Result{Calls: []string{"clone", "clone3"}},
		},
		"denied by the list": {
			list:  []string{"@system-service"},
			calls: []*systemCall{callOf(t, "mount"), callOf(t, "mount"), callOf(t, "read")},
			want:  Result{Calls: []string{"read"}, Denied: map[string]uint64{"mount": 2}},
		},
		"denied by the list, and killed for": {
			config: seccomp.Config{Action: seccomp.Kill},
			list:   []string{"@system-service"},
			calls:  []*systemCall{callOf(t, "mount")},
			want:   Result{Denied: map[string]uint64{"mount": 1}},
		},
		"not in the list, and let go on": {
			config: seccomp.Config{Action: seccomp.Log},
			list:   []string{"@system-service"},
			calls:  []*systemCall{callOf(t, "mount")},
			want:   Result{Calls: []string{"mount"}},
		},
		"not in the list, let go on, and restricted": {
			config: seccomp.Config{Action: seccomp.Log, RestrictNamespaces: true},
			list:   []string{"read"},
			calls:  []*systemCall{callOf(t, "unshare", unix.CLONE_NEWNET)},
			want:   Result{Denied: map[string]uint64{"unshare": 1}},
		},
		"denied by restrictions": {
			config: everything,
			calls:  []*systemCall{callOf(t, "mmap", 0, 4096, writeExec), callOf(t, "unshare", unix.CLONE_NEWNET), callOf(t, "socket", unix.AF_INET), callOf(t, "socket", 12345)},
			// The answer to a socket is not that to a call which is not in the list.
			want: Result{Calls: []string{"socket"}, Denied: map[string]uint64{"mmap": 1, "unshare": 1, "socket": 1, "socket inet": 1}},
		},
		"denied so that programs go on with an older call": {
			config: everything,
			calls:  []*systemCall{callOf(t, "clone3"), callOf(t, "clone", unix.CLONE_VM)},
			want:   Result{Calls: []string{"clone", "clone3"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := subjectOf(t, test.config, test.list...)
			for _, c := range test.calls {
				s.learn(c, c.name(), s.judge(c))
			}
			got := s.Learner.Result()
			for _, list := range []*[]string{&test.want.Calls, &test.want.Families, &test.want.Needs} {
				if *list == nil {
					*list = []string{}
				}
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
		})
	}
}

// A number of another architecture means another call.
func TestForeignName(t *testing.T) {
	native := callOf(t, "read")
	foreign := *native
	foreign.Arch = unix.AUDIT_ARCH_I386
	if native.name() != "read" || foreign.name() != foreignName {
		t.Errorf("%q and %q", native.name(), foreign.name())
	}
	if runtime.GOARCH == "amd64" {
		if x32 := (&systemCall{Number: 1<<30 | native.Number, Arch: nativeArch}); x32.name() != foreignName {
			t.Errorf("a call of the x32 ABI is %q", x32.name())
		}
	}
	// The kernel's number for a call that a tracer skips is no number of x32.
	if skipped := (&systemCall{Number: 0xffffffff, Arch: nativeArch}); skipped.name() == foreignName {
		t.Error("a skipped call is one of another architecture")
	}
}

// A judge whose program answers what it must not have a call go on.
func TestOddAnswers(t *testing.T) {
	for _, action := range []uint32{unix.SECCOMP_RET_KILL_PROCESS, unix.SECCOMP_RET_KILL_THREAD, unix.SECCOMP_RET_TRAP, unix.SECCOMP_RET_TRACE, unix.SECCOMP_RET_LOG} {
		judge, err := seccomp.NewJudge([]unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: action}})
		if err != nil {
			t.Fatal(err)
		}
		if a := (&Subject{Judge: judge}).judge(callOf(t, "read")); a.errno == 0 {
			t.Errorf("%#x: %+v", action, a)
		}
	}
}

// A hostile program makes no list of any length.
func TestBounds(t *testing.T) {
	s := subjectOf(t, seccomp.Config{})
	told := &told{}
	for number := range uint64(1000) {
		c := callOf(t, "socket", number)
		s.learn(c, c.name(), s.judge(c))
		name, _ := syscalls.Name(runtime.GOARCH, int(number))
		told.add(name)
	}
	if n := len(s.Learner.Result().Families); n > maxFamilies {
		t.Errorf("%d families are kept", n)
	}
	if len(told.denied) != maxDenied {
		t.Errorf("%d names are kept of one process, want %d", len(told.denied), maxDenied)
	}
}
