package needtest

import (
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

// A test that skips itself would be skipped in CI, too, and nobody would know. So all of
// them go through this package. Inside of rapid a skip is another thing: it says that an
// action is not possible in this state.
func TestNobodySkipsByItself(t *testing.T) {
	const top = "../.."
	if _, err := os.Stat(filepath.Join(top, "go.mod")); err != nil {
		Skip(t, "needs the source: "+err.Error())
	}
	// These are what others go through, and a test of what a skip looks like.
	allowed := []string{"ipc/needtest/needtest.go", "deploy/machinetest/machine_test.go"}
	read := 0
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(top, path)
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != top || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(name, ".go") || slices.Contains(allowed, name) {
			return nil
		}
		read++
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, at := range rawSkips(file) {
			t.Errorf("%s:%d: a test skips itself: needtest.Skip or SkipAnywhere says so", name, files.Position(at).Line)
		}
		return nil
	})
	if err != nil || read < 100 {
		t.Errorf("%d files read, %v", read, err)
	}
}

// rawSkips returns where a parameter of package testing is told to skip.
func rawSkips(file *ast.File) (found []token.Pos) {
	var walk func(n ast.Node, tests map[string]bool)
	walk = func(n ast.Node, tests map[string]bool) {
		ast.Inspect(n, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Body != nil {
					walk(n.Body, testsOf(n.Type, nil))
				}
				return false
			case *ast.FuncLit:
				walk(n.Body, testsOf(n.Type, tests))
				return false
			case *ast.SelectorExpr:
				x, ok := n.X.(*ast.Ident)
				if ok && tests[x.Name] && slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, n.Sel.Name) {
					found = append(found, n.Pos())
				}
			}
			return true
		})
	}
	walk(file, nil)
	return found
}

// testsOf returns which names stand for tests in a function: its own parameters, and
// those of the function around it that it does not hide.
func testsOf(f *ast.FuncType, outer map[string]bool) map[string]bool {
	tests := map[string]bool{}
	for name, is := range outer {
		tests[name] = is
	}
	for _, field := range f.Params.List {
		of := field.Type
		if pointer, ok := of.(*ast.StarExpr); ok {
			of = pointer.X
		}
		selector, ok := of.(*ast.SelectorExpr)
		if ok {
			x, isIdent := selector.X.(*ast.Ident)
			ok = isIdent && x.Name == "testing"
		}
		for _, name := range field.Names {
			tests[name.Name] = ok
		}
	}
	return tests
}

// This test shows that the rule can fail.
func TestRawSkipsAreFound(t *testing.T) {
	for body, want := range map[string]int{
		`func f(t *testing.T) { t.Skip("x") }`:                                             1,
		`func f(t testing.TB) { if true { t.Skipf("x") }; t.SkipNow() }`:                   2,
		`func f(t *testing.T) { func() { t.Skip("x") }() }`:                                1,
		`func f(t *rapid.T) { func(t *testing.T) { t.Skip("x") }(nil); t.Skip("x") }`:      1,
		`func f(t *testing.T) { rapid.Check(t, func(t *rapid.T) { t.Skip("x") }) }`:        0,
		`func f(t *testing.T) { needtest.Skip(t, "x"); zap.Skip(); t.Log(t.Skipped()) }`:   0,
		`func (t *testing) Skip() {}; func f(t *thing) { t.Skip() }; type g func(testing)`: 0,
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "", "package p\n"+body, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(rawSkips(file)); got != want {
			t.Errorf("%s: %d, want %d", body, got, want)
		}
	}
}
