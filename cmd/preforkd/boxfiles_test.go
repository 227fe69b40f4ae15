package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// Nothing can be written to but what each connection has of its own, whoever the
// program is. With the machine's user 0 it is the mounts that keep it from that, and
// not the files' modes.
func TestBoxIsReadOnly(t *testing.T) {
	t.Parallel()
	m := startBoxed(t, map[string]string{
		"strict": `box.preset = "strict"`,
		"root":   "box.preset = \"strict\"\nbox.dynamic-user = false",
		"able": `box.preset = "strict"
box.dynamic-user = false
box.capabilities = ["dac_override", "fowner", "chown"]`,
	})
	if err := os.WriteFile(filepath.Join(m.dir, "file"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, service := range []string{"strict", "root", "able"} {
		t.Run(service, func(t *testing.T) {
			p := m.dial(t, service)
			p.fails(t, "walk "+m.dir, "EROFS EACCES")
			p.fails(t, "change "+m.dir+"/file", "EROFS EACCES EPERM")
			own := map[string]bool{"/tmp": true, "/var/tmp": true, "/dev/shm": true}
			if testing.Short() {
				return
			}
			for path := range strings.FieldsSeq(p.does(t, "walk /")) {
				if !own[path] {
					t.Errorf("%s is not read-only", path)
				}
				delete(own, path)
			}
			for path := range own {
				t.Errorf("%s is read-only", path)
			}
		})
	}
}

// A connection fills what is its own, and nobody else's: each /tmp has its size and its
// number of files, and a full one leaves its neighbours theirs.
func TestBoxBoundsFiles(t *testing.T) {
	t.Parallel()
	m := startBoxed(t, map[string]string{
		"none":   "",
		"strict": "box.preset = \"strict\"\nbox.private-tmp-size = \"1M\"",
		"large":  `box.preset = "strict"`,
	})
	outside := systest.Dir(t)
	if err := os.Chmod(outside, 0o777); err != nil {
		t.Fatal(err)
	}
	m.dial(t, "none").does(t, "fill 2048 "+outside+"/full")
	m.dial(t, "none").does(t, "files 500 "+outside)
	for _, dir := range []string{"/tmp", "/var/tmp", "/dev/shm"} {
		neighbour, p := m.dial(t, "strict"), m.dial(t, "strict")
		neighbour.does(t, "descriptors")
		p.fails(t, "fill 2048 "+dir+"/full", "ENOSPC")
		neighbour.does(t, "fill 900 "+dir+"/mine")
		m.dial(t, "strict").does(t, "fill 900 "+dir+"/mine")
		p = m.dial(t, "strict")
		p.fails(t, "files 1000000 "+dir, "ENOSPC")
		neighbour.does(t, "files 100 "+dir)
	}
	m.dial(t, "large").fails(t, "files 1000000 /tmp", "ENOSPC")
	m.dial(t, "large").fails(t, "fill 100000 /tmp/full", "ENOSPC")
}

// The limits of a box bound what a process takes, and the process cannot raise them.
func TestBoxBoundsMemory(t *testing.T) {
	t.Parallel()
	m := startBoxed(t, map[string]string{
		"none":    "",
		"limited": "box.preset = \"strict\"\nbox.limit-as = \"2G\"",
		"fixed":   "box.preset = \"strict\"\nbox.memory-deny-write-execute = true",
		"strict":  `box.preset = "strict"`,
	})
	// In MiB, of memory that a test may well use.
	m.dial(t, "none").does(t, "reserve 4000")
	m.dial(t, "strict").does(t, "reserve 4000")
	p := m.dial(t, "limited")
	p.fails(t, "reserve 4000", "ENOMEM")
	p.does(t, "descriptors") // it goes on
	for service, want := range map[string]string{"none": "", "strict": "", "fixed": "EPERM EACCES"} {
		for _, attempt := range []string{"map-executable", "make-executable"} {
			p := m.dial(t, service)
			if want == "" {
				p.does(t, attempt)
			} else {
				p.fails(t, attempt, want)
			}
		}
	}
}

// A setuid file gives nobody in a box its owner's rights.
func TestBoxIgnoresSetuid(t *testing.T) {
	t.Parallel()
	const user = "user = \"nobody\"\n"
	m := startBoxed(t, map[string]string{
		"none": user, "basic": user + `box.preset = "basic"`, "strict": `box.preset = "strict"`,
		"named": user + "box.preset = \"strict\"\nbox.dynamic-user = false",
	})
	setuid := filepath.Join(m.dir, "setuid")
	systest.CopyProgram(t, filepath.Join(m.dir, "boxprobe"), setuid)
	if err := os.Chmod(setuid, 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	seen, errno := m.dial(t, "none").try(t, "setuid-file "+setuid)
	if errno != "" {
		systest.SkipAnywhere(t, fmt.Sprintf("setuid files have no effect here: %s%s", seen, errno))
	}
	for _, service := range []string{"basic", "strict", "named"} {
		p := m.dial(t, service)
		p.fails(t, "setuid-file "+setuid, "EPERM")
		p.fails(t, "become 0", "EPERM")
		p.fails(t, "gain-capability", "EPERM")
	}
}
