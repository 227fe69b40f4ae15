package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A machine is made of files and of what the system calls answer.
type machine struct {
	euid     int
	self     string            // /proc/self/cgroup
	first    string            // /proc/1/cgroup
	mounts   string            // /proc/self/mountinfo; ROOT stands for the directory of the machine
	groups   map[string]string // cgroup.type by directory; "" has none
	readOnly string            // below this directory, "" for nothing
	covered  string            // another file system is mounted at this directory
	xattrs   map[string]string // "directory name" to value
	owners   map[string]int    // of directories; the others are root's
	noKill   bool
}

func (m machine) system(t *testing.T) (system, string) {
	t.Helper()
	root := t.TempDir()
	writeFake(t, root+"/proc/self/cgroup", m.self)
	writeFake(t, root+"/proc/1/cgroup", m.first)
	writeFake(t, root+"/proc/self/mountinfo", strings.ReplaceAll(m.mounts, "ROOT", root))
	for dir, kind := range m.groups {
		for _, file := range []string{"cgroup.procs", "cgroup.subtree_control"} {
			writeFake(t, filepath.Join(root, dir, file), "")
		}
		if kind != "" {
			writeFake(t, filepath.Join(root, dir, "cgroup.type"), kind+"\n")
		}
		if kind != "" && !m.noKill {
			writeFake(t, filepath.Join(root, dir, "cgroup.kill"), "")
		}
	}
	inside := func(path string) string { return strings.TrimPrefix(path, root) }
	below := func(path, dir string) bool { return dir != "" && strings.HasPrefix(inside(path)+"/", dir+"/") }
	owner := func(path string) (int, bool) { return m.owners[inside(path)], true }
	return system{
		proc: root + "/proc",
		euid: m.euid,
		fileSystem: func(path string) (int64, bool, error) {
			if _, err := os.Stat(path); err != nil {
				return 0, false, err
			}
			if below(path, m.covered) {
				return unix.TMPFS_MAGIC, false, nil
			}
			return unix.CGROUP2_SUPER_MAGIC, below(path, m.readOnly), nil
		},
		xattr: func(path, name string) string { return m.xattrs[inside(path)+" "+name] },
		owner: owner,
		writable: func(path string) bool {
			if info, err := os.Stat(path); err == nil && !info.IsDir() {
				path = filepath.Dir(path)
			}
			uid, _ := owner(path)
			return m.euid == 0 || uid == m.euid
		},
	}, root
}

// The usual machine: systemd, and preforkd in a unit.
const (
	usualMounts = "24 30 0:22 / ROOT/proc rw - proc proc rw\n" +
		"32 24 0:27 / ROOT/cg rw,nosuid,relatime shared:8 - cgroup2 cgroup2 rw,nsdelegate\n"
	unit = "/cg/system.slice/preforkd.service"
)

func unitMachine(change func(m *machine)) machine {
	m := machine{
		self:   "0::/system.slice/preforkd.service\n",
		first:  "0::/init.scope\n",
		mounts: usualMounts,
		groups: map[string]string{"/cg": "", "/cg/system.slice": "domain", unit: "domain", unit + "/supervisor": "domain", unit + "/.control": "domain"},
		xattrs: map[string]string{unit + " user.delegate": "1"},
	}
	change(&m)
	return m
}

// containerMachine is a container with a cgroup namespace, in which preforkd is pid 1.
func containerMachine(change func(m *machine)) machine {
	m := machine{
		self:   "0::/\n",
		first:  "0::/\n",
		mounts: "700 24 0:27 / ROOT/cg rw - cgroup2 cgroup rw\n",
		groups: map[string]string{"/cg": "domain", "/cg/master": "domain", "/cg/init.scope": "domain"},
	}
	change(&m)
	return m
}

func TestLocate(t *testing.T) {
	for _, test := range []struct {
		name    string
		machine machine
		want    string // the cgroup to divide
		own     string // if it is another
	}{
		{"unit", unitMachine(func(m *machine) {}), unit, ""},
		{"older systemd", unitMachine(func(m *machine) { m.xattrs = map[string]string{unit + " trusted.delegate": "1"} }), unit, ""},
		{"subgroup", unitMachine(func(m *machine) { m.self = "0::/system.slice/preforkd.service/supervisor\n" }), unit, unit + "/supervisor"},
		{"ExecReload", unitMachine(func(m *machine) { m.self = "0::/system.slice/preforkd.service/.control\n" }), unit, unit + "/.control"},
		{"a user's unit", unitMachine(func(m *machine) {
			m.euid, m.owners = 7, map[string]int{unit: 7}
		}), unit, ""},
		{"by chown alone", unitMachine(func(m *machine) {
			m.euid, m.owners, m.xattrs = 7, map[string]int{unit: 7}, nil
		}), unit, ""},
		{"subgroup by chown alone", unitMachine(func(m *machine) {
			m.self = "0::/system.slice/preforkd.service/supervisor\n"
			m.euid, m.owners, m.xattrs = 7, map[string]int{unit: 7, unit + "/supervisor": 7}, nil
		}), unit, unit + "/supervisor"},
		{"version 1 for what is not needed", unitMachine(func(m *machine) { m.self += "3:net_cls,net_prio:/\n2:name=systemd:/x\n" }), unit, ""},
		{"read-only and writable", unitMachine(func(m *machine) {
			m.mounts = "31 24 0:27 / ROOT/ro ro - cgroup2 cgroup2 rw\n" + usualMounts
			m.groups["/ro/system.slice/preforkd.service"] = "domain"
			m.readOnly = "/ro"
		}), unit, ""},
		{"only the unit is mounted", unitMachine(func(m *machine) {
			m.mounts = "31 24 0:27 /system.slice/preforkd.service ROOT/own\\040cgroup rw - cgroup2 cgroup2 rw\n"
			m.groups = map[string]string{"/own cgroup": "domain"}
			m.xattrs = map[string]string{"/own cgroup user.delegate": "1"}
		}), "/own cgroup", ""},

		{"container", containerMachine(func(m *machine) {}), "/cg", ""},
		{"container whose first process moved all", containerMachine(func(m *machine) {
			m.self, m.first, m.groups["/cg/init"] = "0::/init\n", "0::/init\n", "domain"
		}), "/cg", "/cg/init"},
		{"container after Prepare", containerMachine(func(m *machine) { m.self, m.first = "0::/master\n", "0::/master\n" }), "/cg", "/cg/master"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, root := test.machine.system(t)
			r, err := s.locate()
			if err != nil {
				t.Fatal(err)
			}
			own := test.own
			if own == "" {
				own = test.want
			}
			if r.Path() != root+test.want || r.own != root+own {
				t.Errorf("located %s, in %s; want %s, in %s", r.Path(), r.own, test.want, own)
			}
		})
	}
}

func TestLocateMissing(t *testing.T) {
	const v1 = "9:name=systemd:/\n8:pids:/\n4:memory:/x\n2:cpu,cpuacct:/\n7:blkio:/\n"
	for _, test := range []struct {
		name    string
		machine machine
		missing string
		remedy  string
	}{
		{"version 1", unitMachine(func(m *machine) { m.self, m.mounts = v1, "" }),
			"has cgroup version 1, which keeps the controllers blkio, cpu, memory, pids", "unified_cgroup_hierarchy=1"},
		{"hybrid", unitMachine(func(m *machine) { m.self = v1 + "0::/\n" }),
			"has hybrid cgroups, which keeps the controllers blkio, cpu, memory, pids", "unified_cgroup_hierarchy=1"},
		{"none", unitMachine(func(m *machine) { m.self, m.mounts = "", "" }), "no cgroup version 2", "CONFIG_CGROUPS"},
		{"not mounted", unitMachine(func(m *machine) { m.mounts = "" }), "cannot be seen in /sys/fs/cgroup", "mount cgroup2"},
		{"covered", unitMachine(func(m *machine) { m.covered = "/cg" }), "cannot be seen in /sys/fs/cgroup", "mount cgroup2"},
		{"outside of the namespace", unitMachine(func(m *machine) { m.self = "0::/../preforkd.service\n" }),
			"/../preforkd.service of this process cannot be seen", "cgroup namespace"},
		{"a file of the cgroup is mounted", unitMachine(func(m *machine) {
			m.mounts = "31 24 0:27 /system.slice/preforkd.service/memory.pressure ROOT/cg/x rw - cgroup2 cgroup2 rw\n"
		}), "cannot be seen", "mount cgroup2"},
		{"removed", unitMachine(func(m *machine) { m.self = "0::/system.slice/preforkd.service (deleted)\n" }),
			"/system.slice/preforkd.service of this process has been removed", "start it again"},
		{"read-only", unitMachine(func(m *machine) { m.readOnly = "/cg" }), "/cg is mounted read-only", "ProtectControlGroups=no"},

		{"no Delegate=", unitMachine(func(m *machine) { m.xattrs = nil }), unit + " is not delegated", "Delegate=yes"},
		{"Delegate=no", unitMachine(func(m *machine) { m.xattrs[unit+" user.delegate"] = "0" }), unit + " is not delegated", "Delegate=yes"},
		{"without root", unitMachine(func(m *machine) { m.euid, m.xattrs = 7, nil }), unit + " is not delegated", "Delegate=yes"},
		{"another user's", unitMachine(func(m *machine) { m.euid = 7 }), "preforkd.service is not writable for user 7", "User="},
		{"unit of a user's systemd", unitMachine(func(m *machine) {
			m.euid, m.owners = 7, map[string]int{unit: 7, "/cg/system.slice": 7}
			m.xattrs = map[string]string{"/cg/system.slice user.delegate": "1"}
		}), unit + " is not delegated", "Delegate=yes"},
		{"root cgroup", unitMachine(func(m *machine) { m.self, m.first = "0::/\n", "0::/\n" }), "runs in the root cgroup", "systemd unit"},
		{"threaded", unitMachine(func(m *machine) { m.groups[unit] = "domain threaded" }), `is of type "domain threaded"`, "not threaded"},
		{"old kernel", unitMachine(func(m *machine) { m.noKill = true }), "no cgroup.kill", "Linux 5.14"},

		{"container with systemd", containerMachine(func(m *machine) { m.first = "0::/init.scope\n" }), "the cgroup namespace shows", "first process"},
		{"container with the processes of the host", containerMachine(func(m *machine) { m.first = "0::/../../init.scope\n" }), "the cgroup namespace shows", "DelegateSubgroup="},
		{"container, not as root", containerMachine(func(m *machine) { m.euid = 7 }), "/cg is not writable for user 7", "chown"},
		{"container, read-only", containerMachine(func(m *machine) { m.readOnly = "/cg" }), "/cg is mounted read-only", "--privileged"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, _ := test.machine.system(t)
			r, err := s.locate()
			missing, ok := errors.AsType[*MissingError](err)
			if !ok {
				t.Fatalf("%+v, %v", r, err)
			}
			if !strings.Contains(missing.Missing, test.missing) || !strings.Contains(missing.Remedy, test.remedy) {
				t.Errorf("%q; want %q and %q", err, test.missing, test.remedy)
			}
			if strings.ContainsAny(err.Error(), "\n") {
				t.Errorf("more than a line: %q", err)
			}
		})
	}
}

// Whatever this machine has, the answer is a cgroup or one line with a remedy.
func TestLocateHere(t *testing.T) {
	r, err := Locate()
	if err == nil {
		t.Log(r.Path())
		return
	}
	missing, ok := errors.AsType[*MissingError](err)
	if !ok || missing.Missing == "" || missing.Remedy == "" || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v", err)
	}
	t.Log(err)
	text, readErr := os.ReadFile("/proc/self/cgroup")
	if readErr == nil && strings.Contains(string(text), ":memory:") && !strings.Contains(err.Error(), "unified_cgroup_hierarchy") {
		t.Errorf("with cgroup version 1: %v", err)
	}
}
