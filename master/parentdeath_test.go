package master_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// parentDeath are the files that may ask for a signal at the end of the thread that has
// started a process (PR_SET_PDEATHSIG, prctl(2)), and why an exec does not send it.
var parentDeath = map[string]string{
	"master/box/mounts/main_test.go": "the test binary starts itself again and waits; it executes nothing",
	"deploy/machinetest/bound.go":    "a tool that runs a virtual machine, and executes nothing",
}

// parentDeathWords ask for it: a field of syscall.SysProcAttr, an option of prctl(2), and one
// of setpriv(1).
var parentDeathWords = []string{"Pdeathsig", "PR_SET_PDEATHSIG", "pdeath-signal"}

// asksForParentDeath returns the words that a file has. In Go, comments do not count.
func asksForParentDeath(path string, content []byte) (found []string, err error) {
	if filepath.Ext(path) != ".go" {
		for _, word := range parentDeathWords {
			if bytes.Contains(content, []byte(word)) {
				found = append(found, word)
			}
		}
		return found, nil
	}
	file, err := parser.ParseFile(token.NewFileSet(), path, content, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Ident:
			if slices.Contains(parentDeathWords, n.Name) {
				found = append(found, n.Name)
			}
		case *ast.CallExpr:
			// prctl with the number of the option.
			name, _ := n.Fun.(*ast.SelectorExpr)
			if name == nil || name.Sel.Name != "Prctl" || len(n.Args) == 0 {
				break
			}
			if number, ok := n.Args[0].(*ast.BasicLit); ok && number.Value == "1" {
				found = append(found, "Prctl(1)")
			}
		case *ast.BasicLit:
			if strings.Contains(n.Value, "pdeath-signal") {
				found = append(found, "pdeath-signal")
			}
		}
		return true
	})
	return found, nil
}

// The master executes its next version in its own process. That ends all its threads, so
// whoever had asked for a signal at the end of one would be killed by an upgrade.
func TestNoParentDeathSignals(t *testing.T) {
	read, excused := 0, map[string]bool{}
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel("..", path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name == ".git" || name == "bin" {
				return fs.SkipDir
			}
			return nil
		}
		if !entry.Type().IsRegular() || filepath.Ext(name) == ".md" || name == "master/parentdeath_test.go" {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if bytes.HasPrefix(content, []byte("\x7fELF")) {
			return nil // a test binary that somebody has left
		}
		read++
		found, err := asksForParentDeath(name, content)
		if len(found) == 0 || err != nil {
			return err
		}
		if parentDeath[name] == "" {
			t.Errorf("%s asks for a parent-death signal (%s): the upgrade of the master would send it", name, strings.Join(found, ", "))
		}
		excused[name] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if read < 100 {
		t.Errorf("only %d files of the tree were found", read)
	}
	for name := range parentDeath {
		if !excused[name] {
			t.Errorf("%s is excused and asks for none", name)
		}
	}
}

// The test finds what it looks for.
func TestParentDeathIsFound(t *testing.T) {
	for _, c := range []struct {
		path, content string
		want          int
	}{
		{"a.go", "package a\nvar a = &syscall.SysProcAttr{Pdeathsig: 9}", 1},
		{"a.go", "package a\nfunc f(a *syscall.SysProcAttr) { a.Pdeathsig = 9 }", 1},
		{"a.go", "package a\nvar a = value(unix.PR_SET_PDEATHSIG)", 1},
		{"a.go", "package a\nfunc f() { unix.Prctl(1, 9, 0, 0, 0) }", 1},
		{"a.go", "package a\nvar a = []string{\"setpriv\", \"--pdeath-signal\", \"KILL\"}", 1},
		{"a.go", "package a\n// Pdeathsig and PR_SET_PDEATHSIG\nfunc f() { unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) }", 0},
		{"a.sh", "setpriv --pdeath-signal KILL true", 1},
		{"a.c", "prctl(PR_SET_PDEATHSIG, 9);", 1},
	} {
		found, err := asksForParentDeath(c.path, []byte(c.content))
		if err != nil || len(found) != c.want {
			t.Errorf("%q: %q, %v", c.content, found, err)
		}
	}
}
