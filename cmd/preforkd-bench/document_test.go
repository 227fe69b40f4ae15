package main

import (
	"os"
	"path/filepath"
	"testing"
)

// What the documents say of other servers is what was measured.
func TestDocumentsShowTheKeptRuns(t *testing.T) {
	const module = "../.."
	files, err := documents(module)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			t.Error(err)
		} else if string(got) != want {
			t.Errorf("%s is not what `go run ./cmd/preforkd-bench document` writes", name)
		}
	}
}
