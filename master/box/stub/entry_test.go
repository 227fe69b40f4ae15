package stub

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/needtest"
)

// field returns a line of /proc/PID/status or limits, without the name and with
// single spaces.
func field(t *testing.T, text, name string) string {
	t.Helper()
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			return strings.Join(strings.Fields(rest), " ")
		}
	}
	t.Errorf("no line %s in %q", name, text)
	return ""
}

// The entry passes on its arguments and its environment, whatever they are, and
// the program takes its place.
func TestArguments(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var many []string
	for i := range 3000 {
		many = append(many, fmt.Sprintf("argument %d", i))
	}
	eachTarget(t, func(t *testing.T, m target) {
		for _, args := range [][]string{{"name"}, {"name", ""}, {"", "a b", "-x", "\xff\n"}, many} {
			env := []string{helper + "=show", "A=1", "EMPTY=", "B=\xfe"}
			if len(args) == len(many) {
				for _, name := range many {
					env = append(env, name+"=")
				}
			}
			r := m.run(t, Entry{Path: self}, func(cmd *exec.Cmd) { cmd.Env = env }, args...)
			var got shown
			if err := json.Unmarshal([]byte(r.out), &got); err != nil || r.code != 0 {
				t.Fatalf("%+v: %v", r, err)
			}
			valid := func(texts []string) (all []string) {
				for _, s := range texts {
					all = append(all, strings.ToValidUTF8(s, "\ufffd"))
				}
				return all
			}
			want := shown{valid(args), valid(env)}
			if m != own { // the emulator turns the environment around
				slices.Reverse(want.Env)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%d arguments, %d variables of the environment arrived, want %d and %d",
					len(got.Args), len(got.Env), len(args), len(env))
			}
		}
	})
}

// Without arguments the kernel gives one, which is empty (since Linux 5.18).
func TestNoArguments(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	image, err := (&Entry{Path: self, Report: 2}).Image()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := os.StartProcess(memfd(t, image), nil, &os.ProcAttr{Env: []string{helper + "=show"}, Files: []*os.File{nil, w, w}})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	var got shown
	if err := json.NewDecoder(r).Decode(&got); err != nil || !slices.Equal(got.Args, []string{""}) || !slices.Equal(got.Env, []string{helper + "=show"}) {
		t.Errorf("%q, %v", got, err)
	}
	if state, err := p.Wait(); err != nil || !state.Success() {
		t.Errorf("%v, %v", state, err)
	}
}

// Each step has its effect on the program. It runs from a file as well as from
// memory.
func TestEffects(t *testing.T) {
	needtest.Root(t)
	cat := needtest.Program(t, "cat")
	e := Entry{
		Report:          3,
		Limits:          []Limit{{unix.RLIMIT_NOFILE, 33, 44}, {unix.RLIMIT_CORE, 0, 0}, {unix.RLIMIT_FSIZE, 1 << 40, 1<<64 - 1}},
		Nice:            new(7),
		IOPriority:      new(2<<13 | 6),
		Affinity:        []byte{1, 0, 0, 0, 0, 0, 0, 0},
		DropBounding:    []int{unix.CAP_SYS_ADMIN, unix.CAP_NET_RAW, 40},
		SetCapabilities: true,
		Capabilities:    1<<unix.CAP_KILL | 1<<unix.CAP_BPF,
		Directory:       "/proc/self",
		NoNewPrivileges: true,
		Path:            cat,
	}
	files := []string{"cat", "status", "limits", "stat"}
	eachTarget(t, func(t *testing.T, m target) {
		image, err := e.image(m.goarch)
		if err != nil {
			t.Fatal(err)
		}
		paths := []string{file(t, image)}
		if m == own { // an emulator is another program, and memfd is closed there
			paths = append(paths, memfd(t, image))
		}
		for _, path := range paths {
			r := m.runImage(t, path, as(stranger, unix.CAP_SETPCAP, unix.CAP_KILL, unix.CAP_BPF, unix.CAP_SYS_NICE), files...)
			if r.code != 0 {
				t.Fatalf("%+v", r)
			}
			for name, want := range map[string]string{
				"Uid:": "54321 54321 54321 54321", "Cpus_allowed_list:": "0", "NoNewPrivs:": "1", "Seccomp:": "0",
				"CapInh:": "0000008000000020", "CapPrm:": "0000008000000020", "CapEff:": "0000008000000020", "CapAmb:": "0000008000000020",
				"Max open files": "33 44 files", "Max core file size": "0 0 bytes", "Max file size": "1099511627776 unlimited bytes",
			} {
				if got := field(t, r.out, name); got != want {
					t.Errorf("%s %s, want %s", name, got, want)
				}
			}
			var bounding uint64
			if _, err := fmt.Sscanf(field(t, r.out, "CapBnd:"), "%x", &bounding); err != nil || bounding != ownBounding(t)&^(1<<unix.CAP_SYS_ADMIN|1<<unix.CAP_NET_RAW|1<<40) {
				t.Errorf("the bounding set is %x, %v", bounding, err)
			}
			// Field 19 is the nice value, proc_pid_stat(5). The name has no space.
			stat := strings.Fields(r.out[strings.LastIndex(r.out, "(cat)"):])
			if stat[17] != "7" {
				t.Errorf("the nice value is %s", stat[17])
			}
		}
	})
}

func ownBounding(t *testing.T) (bounding uint64) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(field(t, string(status), "CapBnd:"), "%x", &bounding); err != nil {
		t.Fatal(err)
	}
	return bounding
}

// The I/O priority is not in /proc.
func TestIOPriority(t *testing.T) {
	ionice := needtest.Program(t, "ionice")
	eachTarget(t, func(t *testing.T, m target) {
		r := m.run(t, Entry{Path: ionice, IOPriority: new(2<<13 | 6)}, nil, "ionice")
		if r.out != "best-effort: prio 6\n" {
			t.Errorf("%+v", r)
		}
	})
}

// All capabilities can be taken away: the program of user 0 has none either, and
// ambient ones do not stay.
func TestNoCapabilities(t *testing.T) {
	needtest.Root(t)
	e := Entry{SetCapabilities: true, Path: needtest.Program(t, "cat")}
	for c := range 64 {
		if ownBounding(t)>>c&1 != 0 {
			e.DropBounding = append(e.DropBounding, c)
		}
	}
	eachTarget(t, func(t *testing.T, m target) {
		for _, uid := range []uint32{0, stranger} {
			r := m.run(t, e, as(uid, unix.CAP_SETPCAP, unix.CAP_KILL), "cat", "/proc/self/status")
			for _, name := range []string{"CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"} {
				if got := field(t, r.out, name); got != "0000000000000000" {
					t.Errorf("uid %d: %s %s", uid, name, got)
				}
			}
		}
	})
}

// What the entry was given for its own steps is not the program's, which keeps the rest.
func TestClearAmbient(t *testing.T) {
	needtest.Root(t)
	for _, clear := range []bool{false, true} {
		e := Entry{ClearAmbient: clear, Path: needtest.Program(t, "cat")}
		eachTarget(t, func(t *testing.T, m target) {
			r := m.run(t, e, as(stranger, unix.CAP_KILL), "cat", "/proc/self/status")
			for _, name := range []string{"CapEff:", "CapAmb:"} {
				if got := field(t, r.out, name); (got == "0000000000000000") != clear {
					t.Errorf("clear %v: %s %s", clear, name, got)
				}
			}
			if field(t, r.out, "CapBnd:") == "0000000000000000" {
				t.Error("the bounding set is empty")
			}
		})
	}
}

// The program does not have the report descriptor.
func TestReportCloses(t *testing.T) {
	eachTarget(t, func(t *testing.T, m target) {
		r := m.run(t, Entry{Path: needtest.Program(t, "ls"), Directory: "/proc/self"}, nil, "ls", "-l", "fd")
		if r.code != 0 || strings.Contains(r.out, "socket:") || !strings.Contains(r.out, " 2 -> ") {
			t.Errorf("%+v", r)
		}
	})
}
