package goldentest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A recorder is a test that keeps its errors.
type recorder struct {
	*testing.T
	errors string
}

func (r *recorder) Errorf(format string, args ...any) { r.errors += fmt.Sprintf(format, args...) }

func TestCompare(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("testdata", 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "name.txt")
	if err := os.WriteFile(path, []byte("one\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	defer func(before bool) { *update = before }(*update)
	*update = false
	r := &recorder{T: t}
	if Compare(r, "name", "one\n"); r.errors != "" {
		t.Errorf("the same text: %s", r.errors)
	}
	if Compare(r, "name", "two\n"); !strings.HasPrefix(r.errors, "name (-want +got):\n") {
		t.Errorf("another text: %q", r.errors)
	}

	*update, r.errors = true, ""
	Compare(r, "name", "two\n")
	if text, err := os.ReadFile(path); string(text) != "two\n" || err != nil || r.errors != "" {
		t.Errorf("the file has %q, %v; %s", text, err, r.errors)
	}
}
