package mounts

import (
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/preforkd/preforkd/ipc/fdtest"
	"github.com/preforkd/preforkd/ipc/slowtest"
	"golang.org/x/sys/unix"
)

// rootTree makes a small root, mounts the machine's programs and /proc in it, and
// puts this program there as /init.
func rootTree(t *testing.T) string {
	t.Helper()
	root := openTempDir(t)
	makeDirs(t, root+"/usr", root+"/proc", root+"/tmp", root+"/dev", root+"/etc", root+"/data/within")
	writeFile(t, root+"/init", "")
	bind(t, "/usr", root+"/usr")
	bind(t, "/proc", root+"/proc")
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bind(t, program, root+"/init")
	// A merged /usr has links, and an older machine has directories.
	for _, dir := range []string{"/bin", "/sbin", "/lib", "/lib64"} {
		target, err := os.Readlink(dir)
		if err == nil {
			err = os.Symlink(target, root+dir)
		} else if _, err = os.Stat(dir); err == nil {
			makeDirs(t, root+dir)
			bind(t, dir, root+dir)
		}
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	return root
}

func bind(t *testing.T, source, target string) {
	t.Helper()
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

func TestRoot(t *testing.T) {
	needMounts(t)
	root := rootTree(t)
	outside := openTempDir(t)
	writeFile(t, outside+"/secret", "secret")
	writeFile(t, root+"/etc/name", "inside")
	for link, target := range map[string]string{
		"/absolute": outside, "/relative": "../../../../../.." + outside, "/magic": "/proc/1/root" + outside, "/state": "/data",
	} {
		if err := os.Symlink(target, root+link); err != nil {
			t.Fatal(err)
		}
	}
	c := Config{
		Root: root, ReadOnly: true, PrivateDevices: true, PrivateTmp: true, PrivatePIDs: true, ProtectKernel: true,
		ReadWritePaths: []string{"/state"},
		Binds:          []Bind{{Source: outside, Target: "/state/within", ReadOnly: true}},
	}
	template := build(t, c)
	cell := startCell(t, template, "/init")
	for _, s := range []scriptTest{
		{"a file", "cat /etc/name", "inside"},
		{"the root", "ls / | tr '\\n' ' '", "~etc"},
		{"a path of the machine", "cat " + outside + "/secret", "~No such file"},
		{"an absolute link", "cat /absolute/secret", "~No such file"},
		{"a relative link", "cat /relative/secret", "~No such file"},
		{"..", "cd /; cd ../../..; ls etc", "name"},
		{"a bind at a link", "cat /data/within/secret", "secret"},
		{"to write there", "echo x >/data/within/x", "~Read-only file system"},
		{"to write beside it", "echo x >/data/x && cat /state/x", "x"},
		{"to write elsewhere", "echo x >/etc/x", "~Read-only file system"},
		{"/tmp", "echo x >/tmp/x && ls /tmp", "x"},
		{"the machine's mounts", "grep -c -e /mnt -e ' /run' -e ' /sys' /proc/self/mounts", "0 [exit status 1]"},
		{"the root of process 1", "ls /proc/1/root/etc", "name"},
		{"the root of its holder's parent", "cat /proc/1/root/../.." + outside + "/secret", "~No such file"},
	} {
		s.check(t, cell.run(t, 0, s.script))
	}
	scriptTest{"a magic link", "cat /magic/secret", "~No such file"}.check(t, cell.run(t, 0, "cat /magic/secret"))
	// A magic link must not be followed by Build either.
	c.ReadWritePaths, c.PrivatePIDs = []string{"/magic"}, false
	if template, err := Build(c); err == nil || !strings.Contains(err.Error(), "read-write-paths: /magic: ") {
		t.Errorf("a magic link is followed: %v", err)
		if err == nil {
			template.Close()
		}
	}
}

// What is mounted in a template does not appear on the machine, and the reverse.
func TestPropagation(t *testing.T) {
	needMounts(t)
	dir := openTempDir(t)
	makeDirs(t, dir+"/later", dir+"/inner")
	template := build(t, Config{ReadOnly: true, ReadWritePaths: []string{dir}})
	mountTmpfs(t, dir+"/later", "")
	writeFile(t, dir+"/later/file", "")
	scriptTest{"a later mount", "ls " + dir + "/later", ""}.check(t, run(t, template, 0, "ls "+dir+"/later"))
	script := "mount -t tmpfs tmpfs " + dir + "/inner && echo x >" + dir + "/inner/file && ls " + dir + "/inner"
	scriptTest{"a mount within", script, "file"}.check(t, run(t, template, 0, script))
	if entries, err := os.ReadDir(dir + "/inner"); err != nil || len(entries) > 0 {
		t.Errorf("a mount of the box is seen outside: %v, %v", entries, err)
	}
}

// The namespace ends with Close: a file system that only the template kept is gone.
// The kernel ends a namespace some time after its last user has gone.
func TestClose(t *testing.T) {
	needMounts(t)
	dir := openTempDir(t)
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	fds := fdtest.Open(t)
	template, err := Build(everything)
	if err != nil {
		t.Fatal(err)
	}
	if now := fdtest.Open(t); now != fds+1 {
		t.Errorf("Build has opened %d descriptors, want 1", now-fds)
	}
	// An inotify watch ends with the file system.
	watch, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	if _, err := unix.InotifyAddWatch(watch, dir, unix.IN_ONLYDIR|unix.IN_ACCESS); err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	ended := func() bool {
		_, err := unix.Read(watch, make([]byte, 4096))
		return err == nil
	}
	if ended() {
		t.Fatal("the template does not keep the file system")
	}
	if err := template.Close(); err != nil {
		t.Fatal(err)
	}
	slowtest.Await(t, "the namespace ends", ended)
	if now := fdtest.Open(t); now != fds+1 { // with the watch
		t.Errorf("%d descriptors are left", now-fds-1)
	}
}

func TestManyAtOnce(t *testing.T) {
	needMounts(t)
	const n = 100
	table, fds := mountTable(t), fdtest.Open(t)
	templates := make([]*Template, n)
	var all sync.WaitGroup
	for i := range templates {
		all.Go(func() {
			var err error
			if templates[i], err = Build(everything); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, template := range templates {
		if template != nil {
			scriptTest{"the root", rootFlags, "ro"}.check(t, run(t, template, nobody, rootFlags))
			template.Close()
		}
	}
	if now := fdtest.Open(t); now != fds {
		t.Errorf("%d descriptors, want %d", now, fds)
	}
	if now := mountTable(t); now != table {
		t.Errorf("the machine's mounts were\n%s\nand are\n%s", table, now)
	}
	own, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	slowtest.Await(t, "no thread is in another namespace", func() bool {
		entries, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if ns, err := os.Readlink("/proc/self/task/" + e.Name() + "/ns/mnt"); err == nil && ns != own {
				return false
			}
		}
		return true
	})
}
