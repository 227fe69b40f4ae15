package main

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Both binaries build without cgo, and need nothing of the system they run on.
func TestStaticBuild(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"preforkd", "preforkd-worker"} {
		out := filepath.Join(dir, name)
		build := exec.Command("go", "build", "-trimpath", "-o", out, "github.com/preforkd/preforkd/cmd/"+name)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if output, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", build.Args, err, output)
		}
		file, err := elf.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if libraries, err := file.ImportedLibraries(); err != nil || len(libraries) > 0 {
			t.Errorf("%s needs %v, %v", name, libraries, err)
		}
	}
}
