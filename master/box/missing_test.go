package box

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/box/cgroup"
	"github.com/preforkd/preforkd/master/box/stub"
	"github.com/preforkd/preforkd/master/config"
)

// resources is how many resource limits there are (RLIM_NLIMITS).
const resources = 16

// everything returns a box that asks for every key by which something can be
// missing, but for cgroups.
func everything() config.Box {
	b := config.PresetBox(config.BoxStrict)
	b.MemoryDenyWriteExecute = true
	b.ReadWritePaths, b.ReadOnlyPaths, b.InaccessiblePaths = []string{"/srv"}, []string{"/opt"}, []string{"/boot"}
	b.TemporaryFileSystem, b.RootDirectory = []string{"/mnt"}, "/"
	b.BindPaths = []config.BindPath{{Source: "/etc", Target: "/a"}}
	b.Limits = map[string]config.Limit{}
	for resource := range resources {
		b.Limits[config.LimitName(resource)] = config.Limit{Soft: 1, Hard: config.NoLimit}
	}
	b.Nice = config.OptionalInt{Set: true, Value: -5}
	b.CPUAffinity, b.IOClass = []int{0}, "realtime"
	return b
}

// What is missing is told of by a key that exists and that the box asks for:
// otherwise nobody could make it optional.
func TestMissingKeysExist(t *testing.T) {
	b := everything()
	exists := func(key, where string) {
		t.Helper()
		if !b.Asks(key) {
			t.Errorf("%s: there is no key %q in this box", where, key)
		}
	}
	for c := range uintptr(unix.CAP_LAST_CAP + 1) {
		exists(keyOfCapability(&b, c), capabilityName(c))
	}
	for _, target := range []string{"/proc", "/proc/kcore", "/tmp", "/var/tmp", "/dev/shm"} {
		exists(keyOfMount(&b, target), target)
	}
	for _, use := range namespaceUses(&b) {
		exists(use.key, "a namespace")
	}
	// Whatever gives a box mounts, there is a key for it.
	less := b
	less.Limits, less.Nice, less.IOClass = nil, config.OptionalInt{}, "" // these take capabilities
	for {
		s, err := translate(&less, nil)
		if err != nil {
			t.Fatal(err)
		}
		key := keyOfMounts(&less)
		if s.mounted() != (key != "") {
			t.Errorf("mounts %v, for %q", s.mounted(), key)
		}
		if key == "" {
			break
		}
		exists(key, "mounts")
		less = less.Without(key)
	}
	actions := []stub.Action{
		stub.SetNice, stub.SetIOPriority, stub.SetAffinity, stub.DropBounding, stub.ClearAmbient, stub.SetCapabilities, stub.RaiseAmbient,
		stub.SetNoNewPrivileges, stub.InstallFilter,
	}
	var steps []stub.Step
	for _, a := range actions {
		steps = append(steps, stub.Step{Action: a, Number: unix.CAP_SYS_ADMIN})
	}
	for resource := range resources {
		steps = append(steps, stub.Step{Action: stub.SetLimit, Number: uint16(resource)})
	}
	for _, step := range steps {
		err := explainStep(stub.Failure{Step: step, Errno: unix.EPERM}, &b)
		missing, ok := err.(*MissingError)
		if !ok {
			t.Errorf("%v: %v", step, err)
			continue
		}
		exists(missing.Key, step.String())
	}
	if err := explainStep(stub.Failure{Step: stub.Step{Action: stub.ChangeDirectory}, Errno: unix.ENOENT}, &b); err.Error() !=
		"try the box: change to the working directory: no such file or directory" {
		t.Error(err)
	}
	for _, key := range literalKeys(t) {
		exists(key, "the source")
	}
}

// Of the limits of cgroups the one is named that cannot be had.
func TestKeyOfLack(t *testing.T) {
	swap := config.ByteSize(0)
	all := config.CgroupLimits{MemoryMax: 1 << 20, MemoryHigh: 1 << 20, MemorySwapMax: &swap, TasksMax: 1, CPUQuota: 1, CPUWeight: 1, IOWeight: 1}
	b := config.Box{Cgroup: all, ServiceCgroup: all}
	for key, file := range limitFiles {
		less := b
		for _, want := range []string{key, "service-" + key} {
			if got := keyOfLack(&less, []string{file}); got != want {
				t.Errorf("%s: %q, want %q", file, got, want)
			}
			less = less.Without(want)
		}
	}
	for _, c := range []struct{ controller, want string }{{"memory", "memory-max"}, {"pids", "tasks-max"}, {"cpu", "cpu-quota"}, {"io", "io-weight"}} {
		if got := keyOfLack(&b, []string{c.controller}); got != c.want {
			t.Errorf("%s: %q, want %q", c.controller, got, c.want)
		}
	}
	if keys := b.CgroupKeys(); len(keys) != 2*len(limitFiles) {
		t.Errorf("%d of %q have a file", 2*len(limitFiles), keys)
	}
	err := explainCgroup(&b, &cgroup.LackError{Names: []string{"io"}, Err: &cgroup.MissingError{Missing: "no io", Remedy: "a kernel"}})
	if want := "io-weight: needs a cgroup to divide (no io): a kernel"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
}

// literalKeys returns the keys that the sources of this package and of mounts name
// in errors, as texts: fields Key, and the constants of mounts.
func literalKeys(t *testing.T) (keys []string) {
	t.Helper()
	for _, dir := range []string{".", "mounts"} {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), dir+"/"+f.Name(), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			add := func(e ast.Expr) {
				if l, ok := e.(*ast.BasicLit); ok && l.Kind == token.STRING {
					key, _ := strconv.Unquote(l.Value)
					keys = append(keys, key)
				}
			}
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.KeyValueExpr:
					if name, ok := n.Key.(*ast.Ident); ok && name.Name == "Key" {
						add(n.Value)
					}
				case *ast.ValueSpec:
					for i, name := range n.Names {
						if strings.HasPrefix(name.Name, "key") && i < len(n.Values) {
							add(n.Values[i])
						}
					}
				}
				return true
			})
		}
	}
	for _, known := range []string{"capabilities", "dynamic-user", "protect-home"} {
		if !slices.Contains(keys, known) {
			t.Fatalf("%s is not among the keys that were found: %q", known, keys)
		}
	}
	return keys
}

// A namespace that cannot be had is named, also where several were asked for at
// once.
func TestNamespaceUses(t *testing.T) {
	for _, c := range []struct {
		box  config.Box
		flag uintptr
		want string
	}{
		{config.Box{PrivatePIDs: true, PrivateTmp: true, PrivateIPC: true}, unix.CLONE_NEWPID, "private-pids"},
		{config.Box{PrivatePIDs: true, PrivateTmp: true, PrivateIPC: true}, unix.CLONE_NEWIPC, "private-ipc"},
		{config.Box{PrivateTmp: true, PrivateIPC: true}, unix.CLONE_NEWPID, "private-tmp"},
		{config.Box{PrivateIPC: true}, unix.CLONE_NEWPID, "private-ipc"},
		{config.Box{PrivateNetwork: true}, unix.CLONE_NEWPID, "private-network"},
		{config.Box{PrivateTmp: true}, unix.CLONE_NEWNS, "private-tmp"},
		{config.Box{PrivateNetwork: true, PrivatePIDs: true}, unix.CLONE_NEWNET, "private-network"},
		{config.Box{ProtectHostname: true}, unix.CLONE_NEWUTS, "protect-hostname"},
	} {
		key := ""
		for _, use := range namespaceUses(&c.box) {
			if use.flag == c.flag && key == "" {
				key = use.key
			}
		}
		if key != c.want {
			t.Errorf("%+v, flag %#x: %q, want %q", c.box, c.flag, key, c.want)
		}
	}
}
