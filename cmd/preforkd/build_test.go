package main

import (
	"debug/elf"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// Both binaries build without cgo, and need nothing of the system they run on.
func TestStaticBuild(t *testing.T) {
	t.Parallel()
	for _, path := range []string{systest.Shipped(t), systest.PreforkdWorker(t)} {
		file, err := elf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if libraries, err := file.ImportedLibraries(); err != nil || len(libraries) > 0 {
			t.Errorf("%s needs %v, %v", path, libraries, err)
		}
	}
}
