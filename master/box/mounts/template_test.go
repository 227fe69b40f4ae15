package mounts

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// openTempDir is a directory that any user may write to.
func openTempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "mounts")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestReadOnly(t *testing.T) {
	needMounts(t)
	dir := openTempDir(t)
	makeDirs(t, dir+"/rw/ro/rw", dir+"/other")
	c := Config{
		ReadOnly:       true,
		ReadWritePaths: []string{dir + "/rw", dir + "/rw/ro/rw", "-" + dir + "/missing"},
		ReadOnlyPaths:  []string{dir + "/rw/ro"},
	}
	template := build(t, c)
	for _, s := range []scriptTest{
		{"elsewhere", "echo x >" + dir + "/x", "~Read-only file system"},
		{"another directory", "echo x >" + dir + "/other/x", "~Read-only file system"},
		{"the root", "echo x >/mounts-test", "~Read-only file system"},
		{"host /tmp", "echo x >/tmp/mounts-test", "~Read-only file system"},
		{"proc, which is the kernel's", "echo 0 >/proc/self/oom_score_adj && echo written", "written"},
		{"sys", "echo x >/sys/x", "~Read-only file system"},
		{"a read-write path", "echo x >" + dir + "/rw/x && cat " + dir + "/rw/x", "x"},
		{"a read-only path within", "echo x >" + dir + "/rw/ro/x", "~Read-only file system"},
		{"a read-write path within that", "echo x >" + dir + "/rw/ro/rw/x && cat " + dir + "/rw/ro/rw/x", "x"},
		{"a device", "echo x >/dev/null && echo written", "written"},
		{"remount without rights", "mount -o remount,rw,bind / 2>/dev/null; " + rootFlags, "ro"},
	} {
		uid := uint32(0)
		if s.name == "remount without rights" {
			uid = nobody
		}
		s.check(t, run(t, template, uid, s.script))
	}
	if _, err := os.Stat(dir + "/rw/ro/rw/x"); err != nil {
		t.Errorf("what the box has written is not there: %v", err)
	}
}

// The root as a whole can be read-only, and /proc then is, too, whether the box shares
// it or a cell has its own.
func TestReadOnlyRoot(t *testing.T) {
	needMounts(t)
	dir := openTempDir(t)
	makeDirs(t, dir+"/rw")
	const oom = "echo 0 >/proc/self/oom_score_adj && echo written"
	c := Config{ReadOnlyPaths: []string{"/"}, ReadWritePaths: []string{dir + "/rw"}}
	template := build(t, c)
	for _, s := range []scriptTest{
		{"elsewhere", "echo x >" + dir + "/x", "~Read-only file system"},
		{"proc", oom, "~Read-only file system"},
		{"a read-write path", "echo x >" + dir + "/rw/x && echo written", "written"},
	} {
		s.check(t, run(t, template, 0, s.script))
	}
	for _, test := range []struct {
		c    Config
		want string
	}{
		{Config{ReadOnlyPaths: []string{"/"}, PrivatePIDs: true}, "~Read-only file system"},
		{Config{ReadOnly: true, PrivatePIDs: true, ProtectKernel: true}, "~Read-only file system"},
		{Config{ReadOnly: true, PrivatePIDs: true}, "written"},
		{Config{ReadOnly: true, ReadOnlyPaths: []string{"/proc"}}, "~Read-only file system"},
	} {
		template := build(t, test.c)
		var got string
		if test.c.PrivatePIDs {
			got = startCell(t, template, self).run(t, 0, oom)
		} else {
			got = run(t, template, 0, oom)
		}
		scriptTest{fmt.Sprintf("proc with %+v", test.c), oom, test.want}.check(t, got)
	}
}

// A longer path decides, and what the machine has mounted read-only stays so.
func TestReadOnlyPaths(t *testing.T) {
	needMounts(t)
	dir := openTempDir(t)
	makeDirs(t, dir+"/ro/rw", dir+"/machine")
	mountTmpfs(t, dir+"/machine", "ro")
	c := Config{ReadOnlyPaths: []string{dir + "/ro"}, ReadWritePaths: []string{dir + "/ro/rw", dir + "/machine"}}
	template := build(t, c)
	c.ReadOnly = true
	strict := build(t, c)
	for _, s := range []scriptTest{
		{"a read-only path", "echo x >" + dir + "/ro/x", "~Read-only file system"},
		{"a read-write path within", "echo x >" + dir + "/ro/rw/x && echo written", "written"},
		{"read-only on the machine", "echo x >" + dir + "/machine/x", "~Read-only file system"},
	} {
		s.check(t, run(t, template, 0, s.script))
		s.check(t, run(t, strict, 0, s.script))
	}
	scriptTest{"elsewhere", "echo x >" + dir + "/x && echo written", "written"}.check(t, run(t, template, 0, "echo x >"+dir+"/x && echo written"))
}

func mountTmpfs(t *testing.T, dir, options string) {
	t.Helper()
	flags := uintptr(0)
	if options == "ro" {
		flags = unix.MS_RDONLY
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", flags, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

func TestInaccessible(t *testing.T) {
	needMounts(t)
	dir := openTempDir(t)
	makeDirs(t, dir+"/secret/within", dir+"/source/secret")
	writeFile(t, dir+"/file", "secret")
	writeFile(t, dir+"/secret/within/file", "secret")
	writeFile(t, dir+"/source/secret/file", "secret")
	makeDirs(t, dir+"/target")
	template := build(t, Config{
		ReadWritePaths:    []string{dir},
		InaccessiblePaths: []string{dir + "/file", dir + "/secret", dir + "/secret/within", "-" + dir + "/missing", dir + "/target/secret"},
		Binds:             []Bind{{Source: dir + "/source", Target: dir + "/target"}},
		ProtectHome:       true,
	})
	for _, s := range []scriptTest{
		{"a file", "cat " + dir + "/file", ""},
		{"the mode of a file", "stat -c %a " + dir + "/file", "0"},
		{"a directory", "ls -A " + dir + "/secret", ""},
		{"a directory in a bind", "ls -A " + dir + "/target/secret", ""},
		{"a file in it", "cat " + dir + "/secret/within/file", "~No such file"},
		{"to write", "echo x >" + dir + "/file", "~Read-only file system"},
		{"to create", "echo x >" + dir + "/secret/x", "~Read-only file system"},
		{"/root", "ls -A /root; stat -c %a /root", "0"},
		{"/home", "ls -A /home; stat -c %a /home", "0"},
	} {
		s.check(t, run(t, template, 0, s.script))
	}
	for _, s := range []scriptTest{
		{"a file", "cat " + dir + "/file", "~Permission denied"},
		{"a directory", "ls " + dir + "/secret", "~Permission denied"},
		{"/root", "ls /root", "~Permission denied"},
	} {
		s.check(t, run(t, template, nobody, s.script))
	}
}

// A bind shows what is mounted in its source, read-only as far as it is asked to be.
func TestBinds(t *testing.T) {
	needMounts(t)
	dir := openTempDir(t)
	makeDirs(t, dir+"/source/nested", dir+"/rw", dir+"/ro", dir+"/empty")
	mountTmpfs(t, dir+"/source/nested", "")
	writeFile(t, dir+"/source/nested/file", "nested")
	writeFile(t, dir+"/source/file", "file")
	c := Config{
		ReadOnly:             true,
		TemporaryFileSystems: []string{dir + "/empty"},
		Binds: []Bind{
			{Source: dir + "/source", Target: dir + "/rw"},
			{Source: dir + "/source", Target: dir + "/ro", ReadOnly: true},
			{Source: dir + "/source/nested", Target: dir + "/empty/a/b"},
			{Source: dir + "/source/file", Target: dir + "/empty/c/file"},
			{Source: "-" + dir + "/missing", Target: dir + "/missing"},
		},
	}
	template := build(t, c)
	makeDirs(t, dir+"/source/later")
	mountTmpfs(t, dir+"/source/later", "")
	writeFile(t, dir+"/source/later/file", "later")
	for _, s := range []scriptTest{
		{"a nested mount", "cat " + dir + "/rw/nested/file", "nested"},
		{"a nested mount, read-only", "cat " + dir + "/ro/nested/file", "nested"},
		{"to write", "echo x >" + dir + "/rw/x && echo written", "written"},
		{"to write to a nested mount", "echo x >" + dir + "/rw/nested/x && echo written", "written"},
		{"to write, read-only", "echo x >" + dir + "/ro/x", "~Read-only file system"},
		{"to write to a nested mount, read-only", "echo x >" + dir + "/ro/nested/x", "~Read-only file system"},
		{"the source itself", "echo x >" + dir + "/source/x", "~Read-only file system"},
		{"a created directory", "cat " + dir + "/empty/a/b/file", "nested"},
		{"to write to a created directory", "echo x >" + dir + "/empty/a/b/x && echo written", "written"},
		{"a created file", "cat " + dir + "/empty/c/file", "file"},
		{"to write beside it", "echo x >" + dir + "/empty/c/x", "~Read-only file system"},
		{"nothing else is there", "ls " + dir + "/empty", "a\nc"},
		{"what was mounted later", "ls " + dir + "/rw/later", ""},
	} {
		s.check(t, run(t, template, 0, s.script))
	}
	if left, _ := filepath.Glob(dir + "/empty/*"); len(left) > 0 {
		t.Errorf("Build has created %q", left)
	}
}

func TestPrivateDevices(t *testing.T) {
	needMounts(t)
	dir := openTempDir(t)
	if err := unix.Mknod(dir+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir+"/socket", "")
	template := build(t, Config{PrivateDevices: true, Binds: []Bind{{Source: dir + "/socket", Target: "/dev/log"}}})
	for _, s := range []scriptTest{
		{"the names", "ls /dev | tr '\\n' ' '", "fd full log mqueue null random shm stderr stdin stdout tty urandom zero"},
		{"null", "echo x >/dev/null && cat /dev/null && echo ok", "ok"},
		{"zero", "head -c 2 /dev/zero | od -An -tx1", "00 00"},
		{"full", "cat /dev/zero | head -c 1 >/dev/full", "~No space left"},
		{"urandom", "head -c 9 /dev/urandom | wc -c", "9"},
		{"random", "head -c 9 /dev/random | wc -c", "9"},
		{"tty", ": </dev/tty", "~No such device or address"},
		{"stdin", "echo hello | cat /dev/stdin", "hello"},
		{"the mode", "stat -c %a /dev/null /dev", "666\n755"},
		{"a node elsewhere", "cat " + dir + "/null", "~Permission denied"},
		{"to create", "echo x >/dev/x", "~Read-only file system"},
	} {
		s.check(t, run(t, template, 0, s.script))
		s.check(t, run(t, template, nobody, s.script))
	}
}

func TestProtectKernel(t *testing.T) {
	needMounts(t)
	template := build(t, Config{ProtectKernel: true})
	for _, s := range []scriptTest{
		{"a sysctl", "echo x >/proc/sys/kernel/hostname", "~Read-only file system"},
		{"another sysctl", "echo 1 >/proc/sys/vm/drop_caches", "~Read-only file system"},
		{"kallsyms", "cat /proc/kallsyms", ""},
		{"sysfs", "echo x >/sys/kernel/mm/transparent_hugepage/enabled", "~Read-only file system"},
		{"processors", "test -r /sys/devices/system/cpu/online && echo yes", "yes"},
		{"cgroups", "ls -A /sys/fs/cgroup", ""},
		{"the mounts in /sys", "grep -c ' /sys/' /proc/self/mounts", "0 [exit status 1]"},
		{"a process", "grep Name: /proc/self/status", "~grep"},
	} {
		s.check(t, run(t, template, 0, s.script))
	}
}

func TestProtectProc(t *testing.T) {
	needMounts(t)
	pid := strconv.Itoa(os.Getpid())
	open, hidden := build(t, Config{}), build(t, Config{ProtectProc: true})
	for uid, want := range map[uint32]string{0: "yes", nobody: "no"} {
		script := "test -e /proc/" + pid + " && echo yes || echo no"
		scriptTest{"another's process", script, want}.check(t, run(t, hidden, uid, script))
		scriptTest{"unprotected", script, "yes"}.check(t, run(t, open, uid, script))
	}
	scriptTest{"its own", "test -e /proc/$$/status && echo yes", "yes"}.check(t, run(t, hidden, nobody, "test -e /proc/$$/status && echo yes"))
}
