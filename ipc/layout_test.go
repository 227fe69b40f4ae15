package ipc_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/preforkd/preforkd"

// These are the rules of the design. They do not apply to imports of test files.
var (
	// topLevel lists the only entries that the top directory may have, apart from
	// dot-files and what git ignores.
	topLevel = []string{
		"cmd", "master", "worker", "ipc", "deploy",
		"go.mod", "go.sum", "Makefile", "README.md", "LICENSE",
	}

	// mayImport lists the trees that each tree may import from.
	mayImport = map[string][]string{
		"cmd":    {"cmd", "master", "worker", "ipc"},
		"master": {"master", "ipc"},
		"worker": {"worker", "ipc"},
		"ipc":    {"ipc"},
		"deploy": {"deploy", "ipc"},
	}

	// heavy lists packages that make a worker's start too slow, or that do not belong
	// in a process that talks to strangers. Each entry includes the packages below it.
	heavy = []string{
		"net/http",
		"go.uber.org/zap",
		"github.com/coreos/go-systemd",
		"github.com/pelletier/go-toml",
		"github.com/prometheus",
		"github.com/spf13/cobra",
		"charm.land",
		"github.com/charmbracelet",
	}
)

// A goPackage is the output of go list for one package.
type goPackage struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string // direct
	Deps       []string // transitive
}

// inModule returns the package's path below the module. It returns "" for packages of
// other modules.
func inModule(importPath string) string {
	rest, _ := strings.CutPrefix(importPath, module+"/")
	if rest == importPath {
		return ""
	}
	return rest
}

func tree(below string) string {
	first, _, _ := strings.Cut(below, "/")
	return first
}

func isBelow(importPath, root string) bool {
	return importPath == root || strings.HasPrefix(importPath, root+"/")
}

func isStandard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}

// importViolations returns a line for every import that the design forbids.
func importViolations(packages []goPackage) []string {
	var found []string
	violation := func(p goPackage, format string, args ...any) {
		found = append(found, inModule(p.ImportPath)+" "+fmt.Sprintf(format, args...))
	}
	for _, p := range packages {
		below := inModule(p.ImportPath)
		from := tree(below)
		if mayImport[from] == nil {
			violation(p, "is in no tree of the design")
			continue
		}
		for _, i := range p.Imports {
			if to := tree(inModule(i)); to != "" && !slices.Contains(mayImport[from], to) {
				violation(p, "imports %s: %s may import %s only", inModule(i), from, strings.Join(mayImport[from], ", "))
			}
			if from == "ipc" && !isStandard(i) && inModule(i) == "" && !isBelow(i, "golang.org/x/sys") {
				violation(p, "imports %s: ipc may import the standard library and golang.org/x/sys only", i)
			}
		}

		slim := from == "ipc" || from == "worker" || isBelow(below, "cmd/preforkd-worker")
		// A package below worker may import net. Package worker itself may not, and
		// neither may any package that the worker program uses.
		noNet := slim && (from != "worker" || below == "worker")
		for _, d := range p.Deps {
			if slim && slices.ContainsFunc(heavy, func(root string) bool { return isBelow(d, root) }) {
				violation(p, "links %s", d)
			}
			if noNet && d == "net" {
				violation(p, "links net")
			}
		}
	}
	return found
}

// listPackages lists the module's packages as the release build sees them.
func listPackages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports,Deps", module+"/...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var packages []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		packages = append(packages, p)
	}
}

func TestImportsRunOneWay(t *testing.T) {
	packages := listPackages(t)
	if len(packages) == 0 {
		t.Fatal("go list found no package")
	}
	for _, v := range importViolations(packages) {
		t.Error(v)
	}
}

// This test shows that the rules can fail.
func TestForbiddenImportsAreFound(t *testing.T) {
	for _, test := range []struct {
		from    string
		imports string // the package's only import, which it also links
		deps    []string
		want    string
	}{
		{from: "master", imports: module + "/ipc"},
		{from: "master/logging", imports: "go.uber.org/zap"},
		{from: "cmd/preforkd", imports: module + "/master"},
		{from: "cmd/preforkd", imports: "net/http", deps: []string{"net"}},
		{from: "worker/echo", imports: module + "/worker"},
		{from: "worker/netconn", imports: "net"},
		{from: "ipc", imports: "golang.org/x/sys/unix"},

		{from: "master", imports: module + "/worker", want: "master imports worker: master may import master, ipc only"},
		{from: "master/process", imports: module + "/worker/echo", want: "master/process imports worker/echo: master may import master, ipc only"},
		{from: "master", imports: module + "/cmd/preforkd", want: "master imports cmd/preforkd: master may import master, ipc only"},
		{from: "worker", imports: module + "/master", want: "worker imports master: worker may import worker, ipc only"},
		{from: "ipc", imports: module + "/worker", want: "ipc imports worker: ipc may import ipc only"},
		{from: "ipc", imports: "github.com/google/uuid", want: "ipc imports github.com/google/uuid: ipc may import the standard library and golang.org/x/sys only"},
		{from: "ipc", imports: "os/user", deps: []string{"net"}, want: "ipc links net"},
		{from: "worker", imports: "net", want: "worker links net"},
		{from: "worker/echo", imports: "net/http", want: "worker/echo links net/http"},
		{from: "worker/echo", imports: "go.uber.org/zap/zapcore", want: "worker/echo links go.uber.org/zap/zapcore"},
		{from: "cmd/preforkd-worker", imports: module + "/worker/netconn", deps: []string{"net"}, want: "cmd/preforkd-worker links net"},
		{from: "cmd/preforkd-worker", imports: "github.com/spf13/cobra", want: "cmd/preforkd-worker links github.com/spf13/cobra"},
		{from: "worker/echo", imports: "charm.land/bubbletea/v2", want: "worker/echo links charm.land/bubbletea/v2"},
		{from: "util", imports: "os", want: "util is in no tree of the design"},
	} {
		got := importViolations([]goPackage{{
			ImportPath: module + "/" + test.from,
			Imports:    []string{test.imports},
			Deps:       append([]string{test.imports}, test.deps...),
		}})
		var want []string
		if test.want != "" {
			want = []string{test.want}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s importing %s:\n got %q\nwant %q", test.from, test.imports, got, want)
		}
	}
}

func TestEveryPackageHasADocComment(t *testing.T) {
	for _, p := range listPackages(t) {
		if len(p.GoFiles) == 0 {
			continue // tests only
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, "doc.go"), nil,
			parser.PackageClauseOnly|parser.ParseComments)
		switch {
		case err != nil:
			t.Errorf("%s: %v", p.ImportPath, err)
		case file.Doc == nil:
			t.Errorf("%s: doc.go has no package comment", p.ImportPath)
		}
	}
}

func TestTopLevelEntries(t *testing.T) {
	ignored, err := os.ReadFile("../.gitignore")
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range unexpectedEntries(entries, strings.Fields(string(ignored))) {
		t.Errorf("%s stands at the top level, where only %s may", name, strings.Join(topLevel, ", "))
	}
}

// unexpectedEntries returns the entries that are not in topLevel, not dot-files and not
// ignored by git.
func unexpectedEntries(entries []os.DirEntry, ignored []string) []string {
	var found []string
	for _, e := range entries {
		name := e.Name()
		if slices.Contains(topLevel, name) || strings.HasPrefix(name, ".") ||
			slices.ContainsFunc(ignored, func(pattern string) bool {
				match, _ := path.Match(strings.Trim(pattern, "/"), name)
				return match
			}) {
			continue
		}
		found = append(found, name)
	}
	return found
}

func TestUnexpectedEntriesAreFound(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"go.mod", ".ci", "bin", "cpu.prof", "internal", "notes.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := unexpectedEntries(entries, []string{"/bin/", "*.prof"})
	if want := []string{"internal", "notes.txt"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
