package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The manual has every event that the code can log, and no other. So has every
// document that names one.
func TestManualHasEveryEvent(t *testing.T) {
	t.Parallel()
	logged := loggedEvents(t)
	var told []string
	for _, s := range logSection().Sections {
		for _, i := range s.Items {
			told = append(told, i.Term)
			if !slices.Contains(logged, i.Term) {
				t.Errorf("nothing logs %q, of which the manual tells", i.Term)
			}
		}
	}
	for _, event := range logged {
		if !slices.Contains(told, event) {
			t.Errorf("the manual does not tell of the event %q", event)
		}
	}
	inDocument := regexp.MustCompile(`PREFORKD_EVENT=(\w+)|"msg":"([^"]+)"|(?m)^\d\d:\d\d:\d\d\.\d{3}  \w+ +(\S+(?: \S+)*)`)
	for _, d := range documents(t) {
		for _, m := range inDocument.FindAllStringSubmatch(d.text, -1) {
			if event := m[1] + m[2] + m[3]; !slices.Contains(logged, event) {
				t.Errorf("%s: nothing logs %q", d.path, event)
			}
		}
	}
}

// loggedEvents finds in the source what is given to a logger as an event: texts
// and constants of package logging.
func loggedEvents(t *testing.T) []string {
	t.Helper()
	found := map[string]bool{}
	constant := regexp.MustCompile(`(?i)^event[a-z]+$`)
	sources := func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if event, ok := eventOf(n); ok {
					found[event] = true
				}
			case *ast.ValueSpec:
				for i, name := range n.Names {
					if file.Name.Name == "logging" && constant.MatchString(name.Name) && i < len(n.Values) {
						if event, ok := literal(n.Values[i]); ok {
							found[event] = true
						}
					}
				}
			}
			return true
		})
		return nil
	}
	for _, dir := range []string{"master", "cmd/preforkd"} {
		if err := filepath.WalkDir(filepath.Join(treeTop, dir), sources); err != nil {
			t.Fatal(err)
		}
	}
	var events []string
	for event := range found {
		events = append(events, event)
	}
	slices.Sort(events)
	if len(events) < 30 {
		t.Fatalf("found only %q", events)
	}
	return events
}

// eventOf returns the event of a call of a logger, if that is what it is.
func eventOf(call *ast.CallExpr) (string, bool) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", false
	}
	var receiver string
	switch x := method.X.(type) {
	case *ast.Ident:
		receiver = x.Name
	case *ast.SelectorExpr:
		receiver = x.Sel.Name
	}
	if !slices.Contains([]string{"log", "logger", "Log", "Logger"}, receiver) {
		return "", false
	}
	at := 0
	switch method.Sel.Name {
	case "Debug", "Info", "Warn", "Error":
	case "Log":
		at = 1
	default:
		return "", false
	}
	if len(call.Args) <= at {
		return "", false
	}
	return literal(call.Args[at])
}

func literal(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(l.Value)
	return text, err == nil
}
