package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// masterRights are ways in which a master gets rights that its user does not
// have: as the drop-ins for systemd give them, and as careless container
// runtimes do.
func masterRights(t *testing.T) map[string]systest.Options {
	setpriv := systest.Need(t, "setpriv")
	nobody := &syscall.Credential{Uid: 65534, Gid: 65534, NoSetGroups: true}
	return map[string]systest.Options{
		"ambient":           {Attr: &syscall.SysProcAttr{Credential: nobody, AmbientCaps: []uintptr{unix.CAP_NET_BIND_SERVICE, unix.CAP_SETUID, unix.CAP_NET_RAW}}},
		"inheritable":       {Wrap: []string{setpriv, "--inh-caps", "+net_bind_service,+setuid,+net_raw", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"}},
		"inheritable, root": {Wrap: []string{setpriv, "--inh-caps", "+net_bind_service,+setuid,+net_raw", "--"}},
	}
}

// What a master may do beyond its user's rights, its workers may not, however
// they are started, and not even by a program whose file has inheritable
// capabilities.
func TestNoCapabilitiesForWorkers(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	grep := filepath.Join(systest.Dir(t), "grep")
	copyFile(t, "/bin/grep", grep)
	setInheritable(t, grep, unix.CAP_NET_RAW)
	for rights, options := range masterRights(t) {
		for name, args := range map[string][]string{
			"plain":   nil,
			"umask":   {"--umask", "027"},
			"spare":   {"--spares", "1"},
			"user":    {"--user", "nobody"},
			"systemd": {"--handoff", "systemd"},
		} {
			if name == "user" && rights != "inheritable, root" {
				continue // the others are that user
			}
			t.Run(rights+", "+name, func(t *testing.T) {
				t.Parallel()
				o := options
				o.Args = append(args, program(sh(`[ -e /proc/self/fd/3 ] && exec <&3 >&3; grep ^Cap /proc/self/status; exec `+grep+` ^Cap /proc/self/status`)...)...)
				m := o.Start(t)
				if master := capabilities(t, m.PID, m.PID); master["CapInh"] == 0 {
					t.Fatalf("the master has nothing to inherit: %v", master)
				}
				got := m.Dial(t).ExpectEnd(t)
				sets := []string{"CapInh", "CapPrm", "CapEff", "CapAmb"}
				if rights == "inheritable, root" && name != "user" {
					sets = []string{"CapInh", "CapAmb"} // root has its own
				}
				for _, set := range sets {
					if n := strings.Count(got, set+":\t0000000000000000\n"); n != 2 {
						t.Errorf("%s is empty %d times of 2:\n%s", set, n, got)
						break
					}
				}
			})
		}
	}
}

// The master keeps what it was given on all of its threads but a few that do
// nothing but start workers, before and after it has started some. So an exec of
// the master itself hands it on, whichever thread that is on.
func TestMasterKeepsItsCapabilities(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	for rights, options := range masterRights(t) {
		t.Run(rights, func(t *testing.T) {
			t.Parallel()
			o := options
			o.Args = append([]string{"--spares", "1"}, program("/bin/cat")...)
			m := o.Start(t)
			first := capabilities(t, m.PID, m.PID)
			for range 2 {
				tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", m.PID))
				if err != nil {
					t.Fatal(err)
				}
				without := 0
				for _, task := range tasks {
					var tid int
					fmt.Sscan(task.Name(), &tid)
					sets := capabilities(t, m.PID, tid)
					if sets["CapPrm"] != first["CapPrm"] || sets["CapEff"] != first["CapEff"] {
						t.Errorf("a thread has other rights: %v, the first one: %v", sets, first)
					}
					if sets["CapInh"] != first["CapInh"] || sets["CapAmb"] != first["CapAmb"] {
						without++
					}
				}
				if without != 8 { // those that start processes with other capabilities
					t.Errorf("%d of %d threads have lost what an exec hands on", without, len(tasks))
				}
				for _, c := range m.DialAll(t, 20) {
					c.Echo(t, "hello")
					c.Close()
				}
			}
		})
	}
}

// capabilities returns the sets of a thread.
func capabilities(t *testing.T, pid, tid int) map[string]uint64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/status", pid, tid))
	if err != nil {
		t.Fatal(err)
	}
	sets := map[string]uint64{}
	for line := range strings.Lines(string(status)) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), ":\t"); strings.HasPrefix(name, "Cap") {
			var set uint64
			fmt.Sscanf(value, "%x", &set)
			sets[name] = set
		}
	}
	return sets
}

// setInheritable gives a file an inheritable and effective capability, as setcap
// with "ei" does (struct vfs_cap_data in linux/capability.h, revision 2).
func setInheritable(t *testing.T, path string, capability uint) {
	t.Helper()
	var data [20]byte
	const revision2, effective = 0x02000000, 1
	binary.LittleEndian.PutUint32(data[0:], revision2|effective)
	binary.LittleEndian.PutUint32(data[8:], 1<<capability) // the lower 32 inheritable ones
	if err := unix.Setxattr(path, "security.capability", data[:], 0); err != nil {
		systest.Skip(t, "gives a file capabilities: "+err.Error())
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}
