package mounts

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/ipc/needtest"
)

// What Check and Build refuse, and what they say. The same holds for both.
func TestRefused(t *testing.T) {
	root := t.TempDir()
	makeDirs(t, root+"/tmp", root+"/dir/within", root+"/home/user", root+"/dev")
	writeFile(t, root+"/file", "")
	for link, target := range map[string]string{
		"/dead": "/dir/missing", "/loop": "loop", "/out": "/etc/hostname", "/up": "../../../../etc/hostname", "/self": "/", "/same": "dir",
	} {
		if err := os.Symlink(target, root+link); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		want string
		c    Config
	}{
		{want: "read-write-paths: /missing: no such file or directory", c: Config{ReadWritePaths: []string{"/missing"}}},
		{want: "read-only-paths: /missing: no such file or directory", c: Config{ReadOnlyPaths: []string{"/missing"}}},
		{want: "inaccessible-paths: /missing: no such file or directory", c: Config{InaccessiblePaths: []string{"/missing"}}},
		{want: "temporary-file-system: /missing: no such file or directory", c: Config{TemporaryFileSystems: []string{"/missing"}}},
		{want: "bind-paths: /missing: no such file or directory", c: Config{Binds: []Bind{{Source: "/missing", Target: "/dir"}}}},
		{want: "bind-paths: /missing: no such file or directory", c: Config{Binds: []Bind{{Source: "/etc", Target: "/missing"}}}},
		{want: "root-directory: /missing: no such file or directory", c: Config{Root: "/missing"}},
		{want: "root-directory: " + root + "/file: is not a directory", c: Config{Root: root + "/file"}},
		{want: "read-write-paths: /dead: is a link to /dir/missing: no such file or directory", c: Config{ReadWritePaths: []string{"/dead"}}},
		{want: "read-write-paths: /out: is a link to /etc/hostname: no such file or directory", c: Config{ReadWritePaths: []string{"/out"}}},
		{want: "read-only-paths: /up: is a link to ../../../../etc/hostname: no such file or directory", c: Config{ReadOnlyPaths: []string{"/up"}}},
		{want: "inaccessible-paths: /loop: too many levels of symbolic links", c: Config{InaccessiblePaths: []string{"/loop"}}},
		{want: "inaccessible-paths: /self: leads to the root itself", c: Config{InaccessiblePaths: []string{"/self"}}},
		{want: "private-tmp: /tmp: no such file or directory", c: Config{Root: root + "/dir", PrivateTmp: true}},
		{want: "private-devices: /dev: no such file or directory", c: Config{Root: root + "/dir", PrivateDevices: true}},
		{want: "read-write-paths: /same: is the same as /dir of read-only-paths, which says otherwise", c: Config{ReadOnlyPaths: []string{"/dir"}, ReadWritePaths: []string{"/same"}}},
		{want: "bind-paths: " + root + "/file: /dir and its source must both be directories, or neither", c: Config{Binds: []Bind{{Source: root + "/file", Target: "/dir"}}}},

		{want: "read-write-paths: /tmp: is within /tmp, which private-tmp replaces for each connection", c: Config{ReadWritePaths: []string{"/tmp"}, PrivateTmp: true}},
		{want: "bind-paths: /tmp/x: is within /tmp, which private-tmp replaces for each connection", c: Config{Binds: []Bind{{Source: "/etc", Target: "/tmp/x"}}, PrivateTmp: true}},
		{want: "inaccessible-paths: /tmp: is within /tmp, which private-tmp replaces for each connection", c: Config{InaccessiblePaths: []string{"/tmp"}, PrivateTmp: true}},
		{want: "bind-paths: /home/user: is within /home, which protect-home hides", c: Config{Binds: []Bind{{Source: "/etc", Target: "/home/user"}}, ProtectHome: true}},
		{want: "read-write-paths: /dir/within: is within /dir, which inaccessible-paths hides", c: Config{ReadWritePaths: []string{"/dir/within"}, InaccessiblePaths: []string{"/same"}}},
		{want: "read-write-paths: /same: is in a file system of the box that all connections share, and stays read-only", c: Config{ReadWritePaths: []string{"/same"}, TemporaryFileSystems: []string{"/dir"}}},

		{want: `read-write-paths: "etc": is not an absolute path`, c: Config{ReadWritePaths: []string{"etc"}}},
		{want: `read-only-paths: /etc/..: must not contain ".."`, c: Config{ReadOnlyPaths: []string{"/etc/.."}}},
		{want: "inaccessible-paths: /etc/: is to be written as /etc", c: Config{InaccessiblePaths: []string{"-/etc/"}}},
		{want: "inaccessible-paths: /: the root itself cannot be named here", c: Config{InaccessiblePaths: []string{"/"}}},
		{want: `bind-paths: "x": is not an absolute path`, c: Config{Binds: []Bind{{Source: "x", Target: "/dir"}}}},
		{want: `bind-paths: "-/dir": is not an absolute path`, c: Config{Binds: []Bind{{Source: "/etc", Target: "-/dir"}}}},
		{want: "bind-paths: /dir: is named by bind-paths, too", c: Config{Binds: []Bind{{Source: "/etc", Target: "/dir"}, {Source: "/usr", Target: "/dir"}}}},
		{want: "read-write-paths: /dir: is named by read-only-paths, too", c: Config{ReadOnlyPaths: []string{"/dir"}, ReadWritePaths: []string{"/dir"}}},
		{want: `read-write-paths: "/a\nb": contains a character that no path here may have`, c: Config{ReadWritePaths: []string{"/a\nb"}}},
	} {
		if c.c.Root == "" {
			c.c.Root = root
		}
		checkRefused(t, "Check", errors.Join(Check(c.c)...), c.want)
		if os.Getenv(envInner) == "" {
			continue // a namespace cannot be made
		}
		template, err := Build(c.c)
		checkRefused(t, "Build", err, c.want)
		if err == nil {
			template.Close()
		}
	}
}

func checkRefused(t *testing.T, what string, err error, want string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error, want %s", what, want)
		return
	}
	text := strings.TrimSuffix(err.Error(), " (only what is in a temporary-file-system is created)")
	if text != want {
		t.Errorf("%s: %s\nwant  %s", what, err, want)
	}
	var missing *MissingError
	if errors.As(err, &missing) {
		t.Errorf("%s: %s: is not for want of anything", what, err)
	}
}

// buildElsewhere builds a template in another process. The process gets its
// configuration in the environment, and is started by a command line that ends in
// this program.
func buildElsewhere(t *testing.T, c Config, attr *syscall.SysProcAttr, command ...string) string {
	t.Helper()
	needMounts(t)
	config, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	program := self
	if len(command) > 0 {
		if program, err = os.Executable(); err != nil {
			t.Fatal(err)
		}
	}
	command = append(command, program)
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), envBuild+"="+string(config))
	cmd.SysProcAttr = attr
	return output(cmd)
}

// everything is a Config with all that a strict box has.
var everything = Config{
	ReadOnly: true, PrivateTmp: true, PrivateDevices: true, ProtectProc: true, ProtectHome: true, ProtectKernel: true, PrivatePIDs: true,
}

func TestWithoutCapability(t *testing.T) {
	attr := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	got := buildElsewhere(t, everything, attr)
	want := "missing=true protect-system: CAP_SYS_ADMIN is missing (unshare: operation not permitted): CapabilityBoundingSet= and AmbientCapabilities= of the unit, or --cap-add=SYS_ADMIN of the container [exit status 1]"
	if got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func TestWithoutRoom(t *testing.T) {
	unshare := needtest.Program(t, "unshare")
	// The limit belongs to the user namespace.
	got := buildElsewhere(t, everything, nil, unshare, "-Urmp", "--mount-proc", "-f",
		"sh", "-c", `echo 1 >/proc/sys/user/max_mnt_namespaces && exec "$0"`)
	if !strings.HasPrefix(got, "missing=true protect-system: room for one more mount namespace is missing (unshare: no space left on device)") {
		t.Errorf("%s", got)
	}
}

// In a user namespace no device node can be made, so the machine's are bound. And
// what is mounted in /sys cannot be taken away there, so all of /sys is hidden.
func TestInUserNamespace(t *testing.T) {
	unshare := needtest.Program(t, "unshare")
	for dir, want := range map[string]string{
		"/dev": "fd full mqueue null random shm stderr stdin stdout tty urandom zero\nbuilt",
		"/sys": "built",
	} {
		t.Setenv(envLook, dir)
		if got := buildElsewhere(t, everything, nil, unshare, "-Urm"); got != want {
			t.Errorf("%s: %s, want %s", dir, got, want)
		}
	}
}

// The kernel refuses a /proc that would show what is hidden in the present one.
func TestTooRevealing(t *testing.T) {
	unshare := needtest.Program(t, "unshare")
	masked := []string{unshare, "-m", "sh", "-c", `mount --bind /dev/null /proc/version && exec "$@"`, "sh", unshare, "-Urmpf", "--kill-child"}
	for key, c := range map[string]Config{keyPrivatePIDs: {PrivatePIDs: true}, keyProtectProc: {ProtectProc: true}} {
		got := buildElsewhere(t, c, nil, masked...)
		want := "missing=true " + key + ": a /proc over which nothing is mounted is missing (operation not permitted): in a container an unmasked /proc"
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}

// A process in a chroot has a root that is not that of its namespace.
func TestInChroot(t *testing.T) {
	needMounts(t)
	root := rootTree(t)
	config, err := json.Marshal(Config{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/init")
	cmd.Env = []string{envBuild + "=" + string(config), envLook + "=/"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	names, err := listing(root)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := output(cmd), names+"\nbuilt"; got != want {
		t.Errorf("the root of the box has %s, want %s", got, want)
	}
}
