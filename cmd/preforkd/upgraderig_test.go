package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// The names of the events of an upgrade.
const (
	upgrading   = "upgrading"
	upgraded    = "upgraded"
	notUpgraded = "not upgraded"
)

// The versions that upgrades go between.
var versionOne, versionTwo = systest.Versions[0], systest.Versions[1]

// An installation is a directory with preforkd and preforkd-worker.
type installation struct{ dir string }

// install makes an installation of a version.
func install(t *testing.T, version string) installation {
	t.Helper()
	i := installation{systest.Dir(t)}
	i.replace(t, version)
	return i
}

func (i installation) preforkd() string { return filepath.Join(i.dir, "preforkd") }

// replace puts another version in place as dpkg(1) does: the file is written beside the
// old one, and takes its name when it is complete. What runs keeps the old file.
func (i installation) replace(t *testing.T, version string) {
	t.Helper()
	for _, name := range []string{"preforkd-worker", "preforkd"} {
		path := filepath.Join(i.dir, name)
		systest.CopyProgram(t, filepath.Join(systest.Versioned(t, version), name), path+".dpkg-new")
		if err := os.Rename(path+".dpkg-new", path); err != nil {
			t.Fatal(err)
		}
	}
}

// fault has this installation fail, see package fault of master/upgrade. "" takes the
// fault back.
func (i installation) fault(t *testing.T, text string) {
	t.Helper()
	path := i.preforkd() + ".fault"
	if text == "" {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

