package stub

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// exitProgram is the least that a program can be: it exits.
func exitProgram(b *testing.B) []byte {
	b.Helper()
	p, err := newProgram(own.goarch)
	if err != nil {
		b.Fatal(err)
	}
	p.exit(0, 0)
	return p.image()
}

// BenchmarkEntry compares a program that exits at once with the same program
// after an entry. The difference is what an entry costs a connection: a second
// execve and the system calls of its steps.
func BenchmarkEntry(b *testing.B) {
	least := file(b, exitProgram(b))
	all := wholeEntry(least)
	all.Report = 2
	all.Directory = "/proc"
	all.Filter = nil
	for c := range 41 {
		if c != unix.CAP_KILL && c != unix.CAP_CHOWN {
			all.DropBounding = append(all.DropBounding, c)
		}
	}
	filtered := all
	for range 300 {
		filtered.Filter = append(filtered.Filter, skipUnless(0xffff, 0))
	}
	filtered.Filter = append([]unix.SockFilter{loadWord(0)}, append(filtered.Filter, ret(unix.SECCOMP_RET_ALLOW))...)
	for _, c := range []struct {
		name  string
		entry *Entry
	}{
		{"none", nil},
		{"no-steps", &Entry{Report: 2, Path: least}},
		{"all-but-a-filter", &all},
		{"all", &filtered},
	} {
		b.Run(c.name, func(b *testing.B) {
			path := least
			if c.entry != nil {
				image, err := c.entry.Image()
				if err != nil {
					b.Fatal(err)
				}
				b.Logf("%d bytes", len(image))
				path = memfd(b, image)
			}
			for b.Loop() {
				p, err := os.StartProcess(path, []string{"x"}, &os.ProcAttr{Files: []*os.File{nil, nil, os.Stderr}})
				if err != nil {
					b.Fatal(err)
				}
				if state, err := p.Wait(); err != nil || !state.Success() {
					b.Fatal(state, err)
				}
			}
		})
	}
}
