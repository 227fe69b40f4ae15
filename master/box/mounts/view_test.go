package mounts

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/ipc/fdtest"
	"golang.org/x/sys/unix"
)

// A View finds what the processes of the box find, and nothing else.
func TestView(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	makeDirs(t, root+"/tmp", root+"/dev", root+"/home/user", root+"/usr/bin", root+"/mnt", root+"/var", root+"/run", outside+"/dir/within")
	for name, text := range map[string]string{
		root + "/usr/bin/program": "in the box", root + "/home/user/program": "hidden", root + "/tmp/program": "covered", root + "/mnt/file": "covered",
		outside + "/program": "bound", outside + "/dir/within/file": "below", root + "/secret": "hidden", root + "/etc": "",
	} {
		writeFile(t, name, text)
	}
	for link, target := range map[string]string{
		"/bin": "usr/bin", "/absolute": "/usr/bin/program", "/up": "../../../../usr/bin/program", "/out": "/proc/version",
		"/loop": "loop", "/usr/back": "..", "/var/tmp": "/tmp", "/dead": "/nowhere", "/magic": "/proc/self/root",
	} {
		if err := os.Symlink(target, root+link); err != nil {
			t.Fatal(err)
		}
	}
	c := Config{
		Root: root, PrivateTmp: true, PrivateDevices: true, ProtectHome: true,
		TemporaryFileSystems: []string{"/mnt", "/mnt/new/inner"},
		InaccessiblePaths:    []string{"/secret", "-/missing", "/run"},
		Binds: []Bind{
			{Source: outside + "/program", Target: "/mnt/a/b/program"}, {Source: outside + "/dir", Target: "/mnt/dir"},
			{Source: "-/no/such/source", Target: "/mnt/optional"},
		},
	}
	v, errs := NewView(c)
	if errs != nil {
		t.Fatal(errs)
	}
	defer v.Close()
	const missing = "no such file or directory"
	for name, want := range map[string]string{
		"/usr/bin/program": "in the box", "/bin/program": "in the box", "/absolute": "in the box", "/up": "in the box",
		"/usr/back/bin/../usr/bin/program": missing, // ".." of a link's target, as the kernel has it
		"/usr/back/usr/bin/program":        "in the box",
		"/mnt/a/b/program":                 "bound", "/mnt/dir/within/file": "below", "/mnt/a/../dir/within/file": "below",
		"/../../bin/program": "in the box",

		"/out": missing, "/loop": "too many levels of symbolic links", "/dead": missing, "/magic/etc": missing, "/nowhere": missing,
		"/etc/x": "not a directory", "/mnt/file": missing, "/mnt/optional": missing, "/mnt/a/x": missing, "/mnt/a": "permission denied",
		"/home/user/program": "is within /home, which protect-home hides", "/run/x": "is within /run, which inaccessible-paths hides",
		"/secret":      "is within /secret, which inaccessible-paths hides",
		"/tmp/program": "is within /tmp, which private-tmp replaces for each connection", "/var/tmp/x": "is within /tmp, which private-tmp replaces for each connection",
		"/proc/version": missing,
	} {
		got := ""
		f, err := v.Open(name)
		if err == nil {
			text, e := io.ReadAll(f)
			f.Close()
			got, err = string(text), e
		}
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	for name, want := range map[string]bool{
		"/": true, "/bin": true, "/tmp": true, "/home": true, "/mnt": true, "/mnt/a/b": true, "/mnt/new/inner": true, "/dev/shm": true, "/dev": true,
		"/etc": false, "/dev/null": false, "/mnt/a/b/program": false, "/secret": false,
	} {
		if is, err := v.IsDirectory(name); err != nil || is != want {
			t.Errorf("%s is a directory: %v, %v", name, is, err)
		}
	}
}

// CheckExecutable says what execve(2) would.
func TestViewCheckExecutable(t *testing.T) {
	root := t.TempDir()
	makeDirs(t, root+"/home/x", root+"/dir")
	writeFile(t, root+"/data", "")
	if err := os.WriteFile(root+"/program", nil, 0o755); err != nil {
		t.Fatal(err)
	}
	v, errs := NewView(Config{Root: root, ProtectHome: true, InaccessiblePaths: []string{"/data"}})
	if errs != nil {
		t.Fatal(errs)
	}
	defer v.Close()
	for name, want := range map[string]error{
		"/program": nil, "/dir": unix.EISDIR, "/home/x": unix.ENOENT, "/data": unix.ENOENT, "/none": unix.ENOENT, "/program/x": unix.ENOTDIR,
	} {
		if err := v.CheckExecutable(name); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}

// All mistakes are told at once, and each says which key and which path it is about.
func TestViewTellsAll(t *testing.T) {
	before := fdtest.Open(t)
	v, errs := NewView(Config{
		Binds: []Bind{{Source: "/no/source", Target: "/no/target"}}, ReadOnlyPaths: []string{"/no/1", "-/no/2"}, InaccessiblePaths: []string{"/no/3"},
		ReadWritePaths: []string{"/dev/null/x"},
	})
	var got []string
	for _, err := range errs {
		path, ok := errors.AsType[*PathError](err)
		if !ok {
			t.Errorf("%v is about no path", err)
			continue
		}
		got = append(got, path.Key+" "+path.Path)
	}
	if want := "bind-paths /no/source, inaccessible-paths /no/3, read-only-paths /no/1, read-write-paths /dev/null/x"; v != nil || strings.Join(got, ", ") != want {
		t.Errorf("%q, want %q", got, want)
	}
	if after := fdtest.Open(t); after != before {
		t.Errorf("open are %d files, and were %d", after, before)
	}
}
