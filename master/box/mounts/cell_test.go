package mounts

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// self is the path of this program, which leads to it whatever is mounted on it.
const self = "/proc/self/exe"

// rootFlags prints "ro" or "rw".
const rootFlags = "grep ' / ' /proc/self/mounts | cut -d' ' -f4 | cut -c1-2"

func TestCell(t *testing.T) {
	needMounts(t)
	dir := openTempDir(t)
	template := build(t, Config{
		ReadOnly: true, ReadWritePaths: []string{"/var/lib"},
		PrivateTmp: true, TmpSize: 1 << 20, PrivateDevices: true,
		ProtectKernel: true, ProtectProc: true, ProtectHome: true, PrivatePIDs: true,
	})
	cells := []*testCell{startCell(t, template, self), startCell(t, template, self)}
	for _, s := range []scriptTest{
		{"/tmp is empty", "ls -A /tmp /var/tmp /dev/shm", "/dev/shm:\n\n/tmp:\n\n/var/tmp:"},
		{"its mode", "stat -c %a /tmp /var/tmp /dev/shm", "1777\n1777\n1777"},
		{"to write", "for d in /tmp /var/tmp /dev/shm; do echo x >$d/file || exit; done; cat /tmp/file", "x"},
		{"its size", "head -c 2000000 /dev/zero >/tmp/big", "~No space left"},
		{"more files than inodes", "i=0; while [ $i -lt 300 ]; do : >/dev/shm/f$i || exit 3; i=$((i+1)); done", "~No space left"},
		{"the test's directory", "ls " + dir, "~No such file"},
		{"its processes", "set -- /proc/[0-9]*; echo $#", "2"},
		{"sysctl", "echo x >/proc/sys/kernel/hostname", "~Read-only file system"},
		{"kallsyms", "cat /proc/kallsyms", ""},
		{"kcore", "head -c 1 /proc/kcore 2>/dev/null | wc -c", "0"},
		{"setuid programs in /tmp", "grep -c '/tmp tmpfs rw,nosuid,nodev' /proc/self/mounts", "2"},
		{"the rest", "echo x >/etc/mounts-test", "~Read-only file system"},
		{"own terminals", "ls /dev/pts", "~No such file"},
	} {
		s.check(t, cells[0].run(t, 0, s.script))
	}
	// The other cell sees nothing of that.
	for _, s := range []scriptTest{
		{"/tmp", "ls -A /tmp /var/tmp /dev/shm", "/dev/shm:\n\n/tmp:\n\n/var/tmp:"},
		{"processes of others", "set -- /proc/[0-9]*; echo $#", "1"},
		{"remount", "mount -o remount,rw / 2>/dev/null; " + rootFlags, "ro"},
		{"unshare and remount", "unshare -m mount -o remount,rw,bind / 2>/dev/null; " + rootFlags, "ro"},
		{"umount", "umount /tmp /proc 2>/dev/null; ls -A /tmp", ""},
	} {
		s.check(t, cells[1].run(t, nobody, s.script))
	}
}

// /var/tmp is often a link to /tmp, and both are mounted once.
func TestCellMounts(t *testing.T) {
	needMounts(t)
	root := t.TempDir()
	makeDirs(t, root+"/private/tmp", root+"/var")
	for link, target := range map[string]string{"/tmp": "/private/tmp", "/var/tmp": "../tmp"} {
		if err := os.Symlink(target, root+link); err != nil {
			t.Fatal(err)
		}
	}
	template := build(t, Config{Root: root, PrivateTmp: true, TmpSize: 8 << 20, PrivatePIDs: true, ProtectProc: true})
	want := []Mount{{
		Source: "tmpfs", Target: "/private/tmp", Type: "tmpfs",
		Flags: unix.MS_NOSUID | unix.MS_NODEV, Data: "mode=1777,size=8388608,nr_inodes=2048",
	}}
	if got := template.CellMounts(); !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v: there is no /proc", got, want)
	}
}

func TestStates(t *testing.T) {
	needMounts(t)
	template := build(t, Config{PrivateTmp: true, TmpSize: 1 << 20, PrivateDevices: true, PrivatePIDs: true})
	for _, s := range []struct {
		name, script string
		uid          int
		untouched    bool
	}{
		{"nothing", ":", nobody, true},
		{"a look", "ls -lA /tmp /var/tmp /dev/shm; cat /tmp/missing; cd /tmp; stat /tmp", nobody, true},
		{"what is refused", "rmdir /tmp; chmod 700 /tmp; touch -d @1 /tmp; umount /tmp", nobody, true},
		{"a file", "echo x >/tmp/x", nobody, false},
		{"a file, removed", ": >/tmp/x; rm /tmp/x", nobody, false},
		{"a file in /var/tmp, removed", ": >/var/tmp/x; rm /var/tmp/x", nobody, false},
		{"a file in /dev/shm, removed", ": >/dev/shm/x; rm /dev/shm/x", nobody, false},
		{"a directory", "mkdir /tmp/x", nobody, false},
		{"a link, removed", "ln -s x /tmp/x; rm /tmp/x", nobody, false},
		{"the mode of the directory", "chmod 0777 /tmp; chmod 1777 /tmp", 0, false},
		{"the times of the directory", ": >/tmp/x; rm /tmp/x; touch -d @1 /tmp", 0, false},
		{"another file system there", "mount -t tmpfs -o mode=1777,size=1m,nr_inodes=256 tmpfs /tmp", 0, false},
		{"it is unmounted", "umount /tmp", 0, false},
	} {
		cell := startCell(t, template, self)
		if err := template.Mark(cell.pid); err != nil {
			t.Fatal(err)
		}
		first, err := cell.states(template)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			out := cell.run(t, s.uid, s.script)
			if now, err := cell.states(template); slices.Equal(now, first) != s.untouched || err != nil {
				t.Errorf("%s: untouched is %v, %v, want %v\n%s", s.name, !s.untouched, err, s.untouched, out)
			}
		}
	}
}

// private-tmp gives a /dev/shm, too, with the devices of the machine.
func TestPrivateShm(t *testing.T) {
	needMounts(t)
	const script = "echo x >/dev/shm/preforkd-mounts-test; ls -A /dev/shm; test -e /dev/pts && echo devices"
	template := build(t, Config{PrivateTmp: true})
	for range 2 {
		scriptTest{"its own", script, "preforkd-mounts-test\ndevices"}.check(t, startCell(t, template, self).run(t, nobody, script))
	}
	if err := os.Remove("/dev/shm/preforkd-mounts-test"); err == nil {
		t.Error("what a cell has written is there for all")
	}
}

// A cell whose first process has not done its mounts is not taken for one.
func TestMarkWithoutCell(t *testing.T) {
	needMounts(t)
	template := build(t, Config{PrivateTmp: true})
	before, err := os.Stat("/tmp")
	if err != nil {
		t.Fatal(err)
	}
	if err := template.Mark(os.Getpid()); err == nil {
		t.Error("the machine's /tmp is taken for a new one")
	}
	if after, err := os.Stat("/tmp"); err != nil || after.ModTime().Year() < 2000 && before.ModTime().Year() >= 2000 {
		t.Errorf("the machine's /tmp was modified: %v", after.ModTime())
	}
}

// states returns the states of the cell's temporary file systems.
func (c *testCell) states(t *Template) (states []State, err error) {
	for _, target := range t.TemporaryDirectories() {
		var st unix.Stat_t
		var fs unix.Statfs_t
		path := "/proc/" + strconv.Itoa(c.pid) + "/root" + target
		if err := errors.Join(unix.Lstat(path, &st), unix.Statfs(path, &fs)); err != nil {
			return nil, err
		}
		states = append(states, NewState(&st, &fs))
	}
	return states, nil
}
