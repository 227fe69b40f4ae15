package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mattn/go-shellwords"
	"github.com/spf13/cobra"

	"github.com/preforkd/preforkd/cmd/internal/manual"
	"github.com/preforkd/preforkd/master/config"
)

// A document is a text that people read: README.md or a file of deploy/doc.
type document struct {
	path   string // from the top of the tree
	text   string
	blocks []block
	prose  string // what is outside of blocks
}

// A block is a fenced part of a document.
type block struct {
	language string
	text     string
}

const treeTop = "../.."

// documents returns all documents, the README first.
func documents(t *testing.T) []document {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(treeTop, "deploy/doc/*.md"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("documents: %q, %v", paths, err)
	}
	var found []document
	for _, path := range append([]string{filepath.Join(treeTop, "README.md")}, paths...) {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		d := document{path: strings.TrimPrefix(path, treeTop+"/"), text: string(data)}
		for i, part := range strings.Split("\n"+d.text, "\n```") {
			if i%2 == 0 {
				d.prose += part + "\n"
				continue
			}
			language, text, _ := strings.Cut(part, "\n")
			d.blocks = append(d.blocks, block{language, text + "\n"})
		}
		found = append(found, d)
	}
	return found
}

// readme returns the blocks of the README in one language.
func readme(t *testing.T, language string) []block {
	t.Helper()
	return slices.DeleteFunc(documents(t)[0].blocks, func(b block) bool { return b.language != language })
}

// A sample is a command of a block and what the block shows of its output.
type sample struct {
	command string
	output  []string
}

var prompt = regexp.MustCompile(`^[a-z]*[$#] (.*)$`)

// samples returns the commands of a console block. What precedes the first one
// is output of an empty command.
func (b block) samples() []sample {
	found := []sample{{}}
	for line := range strings.Lines(b.text) {
		line = strings.TrimRight(line, "\n")
		if m := prompt.FindStringSubmatch(line); m != nil {
			command, _, _ := strings.Cut(m[1], " # ")
			found = append(found, sample{command: strings.TrimSpace(command)})
			continue
		}
		last := &found[len(found)-1]
		last.output = append(last.output, line)
	}
	if len(found[0].output) == 0 {
		found = found[1:]
	}
	return found
}

// maxReadme is the size of the README in bytes: what somebody reads who has
// never heard of preforkd. Everything else has a place of its own.
const maxReadme = 12 << 10

func TestReadmeIsShort(t *testing.T) {
	t.Parallel()
	if n := len(documents(t)[0].text); n > maxReadme {
		t.Errorf("README.md has %d bytes, at most %d", n, maxReadme)
	}
}

// Every link leads somewhere, and the README leads to every document.
func TestDocumentsLink(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	var fromReadme []string
	for _, d := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(d.prose, -1) {
			target, _, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			path := filepath.Join(filepath.Dir(d.path), target)
			if _, err := os.Stat(filepath.Join(treeTop, path)); err != nil {
				t.Errorf("%s: link to %s: %v", d.path, m[1], err)
			}
			if d.path == "README.md" {
				fromReadme = append(fromReadme, path)
			}
		}
	}
	for _, d := range documents(t)[1:] {
		if !slices.Contains(fromReadme, d.path) {
			t.Errorf("README.md has no link to %s", d.path)
		}
	}
}

// The versions that the README asks for are those of go.mod.
func TestReadmeNamesTheGoVersion(t *testing.T) {
	t.Parallel()
	mod, err := os.ReadFile(filepath.Join(treeTop, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(mod)
	if m == nil || !strings.Contains(documents(t)[0].text, "Go "+string(m[1])+";") {
		t.Errorf("README.md does not ask for the Go of go.mod, %q", m)
	}
}

// Every command that a text names exists, with its flags; every target of make,
// every key of the configuration.
func TestDocumentsNameWhatExists(t *testing.T) {
	t.Parallel()
	names := newNames(t)
	for _, d := range documents(t) {
		for _, b := range d.blocks {
			if b.language != "console" {
				continue
			}
			for _, s := range b.samples() {
				if err := names.line(s.command); err != nil {
					t.Errorf("%s: $ %s: %v", d.path, s.command, err)
				}
			}
		}
		for _, m := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(d.prose, -1) {
			if err := names.inline(m[1]); err != nil {
				t.Errorf("%s: `%s`: %v", d.path, m[1], err)
			}
		}
	}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		texts := c.Example
		for _, s := range manualSections()[strings.ReplaceAll(c.CommandPath(), " ", "-")] {
			texts += "\n" + s.Text
		}
		for line := range strings.Lines(texts) {
			line = strings.TrimSpace(line)
			if m := prompt.FindStringSubmatch(line); m != nil {
				line = m[1]
			}
			if !strings.HasPrefix(line, "preforkd ") {
				continue
			}
			if err := names.line(line); err != nil {
				t.Errorf("the manual of %s: %s: %v", c.CommandPath(), line, err)
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(names.root)
}

// names is what texts may name.
type names struct {
	root    *cobra.Command
	targets []string
	keys    []string
}

func newNames(t *testing.T) *names {
	t.Helper()
	n := &names{root: newRoot()}
	n.root.InitDefaultCompletionCmd()
	makefile, err := os.ReadFile(filepath.Join(treeTop, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^\.PHONY:(.*)$`).FindAllSubmatch(makefile, -1) {
		n.targets = append(n.targets, strings.Fields(string(m[1]))...)
	}
	for _, table := range config.Tables() {
		for _, k := range table.Keys {
			n.keys = append(n.keys, k.Name)
		}
	}
	return n
}

// redirection is where output goes to or input comes from.
var redirection = regexp.MustCompile(`[<>]\S+`)

// line checks a line of shell.
func (n *names) line(text string) error {
	parser := shellwords.NewParser()
	for text = redirection.ReplaceAllString(text, ""); text != ""; {
		words, err := parser.Parse(text)
		if err != nil {
			return err
		}
		if err := n.command(words); err != nil {
			return err
		}
		if parser.Position < 0 {
			return nil
		}
		text = strings.TrimLeft(text[parser.Position:], "|&; ")
	}
	return nil
}

// command checks one command: those of preforkd and of make.
func (n *names) command(words []string) error {
	for len(words) > 0 && (words[0] == "sudo" || strings.Contains(words[0], "=")) {
		words = words[1:]
	}
	if len(words) == 0 {
		return nil
	}
	switch program := words[0]; {
	case program == "preforkd":
		return n.preforkd(words[1:])
	case strings.HasSuffix(program, "/preforkd"):
		return fmt.Errorf("the program is called preforkd everywhere, and %s here", program)
	case program == "make":
		for _, word := range words[1:] {
			if !strings.Contains(word, "=") && !slices.Contains(n.targets, word) {
				return fmt.Errorf("no target %q", word)
			}
		}
	}
	return nil
}

// preforkd checks the arguments of preforkd.
func (n *names) preforkd(words []string) error {
	if len(words) == 0 {
		return nil
	}
	c, _, err := n.root.Find(words)
	if err != nil {
		return err
	}
	if c == n.root && !strings.HasPrefix(words[0], "-") {
		return fmt.Errorf("no command %q", words[0])
	}
	c.InitDefaultHelpFlag()
	for _, word := range words {
		if word == "--" {
			break
		}
		name, isFlag := strings.CutPrefix(strings.TrimLeft(word, "["), "--")
		name, _, _ = strings.Cut(strings.TrimRight(name, "]"), "=")
		if isFlag && c.Flags().Lookup(name) == nil && c.InheritedFlags().Lookup(name) == nil {
			return fmt.Errorf("%s has no flag --%s", c.Name(), name)
		}
	}
	return nil
}

var assignment = regexp.MustCompile(`^([a-z][a-z0-9-]+) = `)

// inline checks what prose has between backquotes.
func (n *names) inline(text string) error {
	words := strings.Fields(text)
	switch m := assignment.FindStringSubmatch(text); {
	case m != nil:
		if !slices.Contains(n.keys, m[1]) {
			return fmt.Errorf("no key %q", m[1])
		}
		return nil
	case words[0] == "preforkd", words[0] == "make":
		return n.line(text)
	case strings.HasPrefix(text, "--"):
		for _, c := range n.root.Commands() {
			if n.preforkd(append([]string{c.Name()}, words...)) == nil {
				return nil
			}
		}
		return fmt.Errorf("no command has such a flag")
	case len(words) > 1 && n.isCommand(words[0]):
		return n.preforkd(words)
	}
	return nil
}

func (n *names) isCommand(name string) bool {
	return slices.ContainsFunc(n.root.Commands(), func(c *cobra.Command) bool { return c.Name() == name })
}

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

// What people copy out of a text is a configuration without a mistake. So is
// the example that is installed.
func TestDocumentedConfigurations(t *testing.T) {
	t.Parallel()
	installed, err := os.ReadFile(filepath.Join(treeTop, "deploy/preforkd.toml"))
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{"deploy/preforkd.toml": string(installed), "preforkd.toml(5)": manual.Example}
	for _, d := range documents(t) {
		for i, b := range d.blocks {
			if b.language == "toml" {
				texts[fmt.Sprintf("%s, block %d", d.path, i+1)] = b.text
			}
		}
	}
	if len(texts) < 3 {
		t.Errorf("the README has no configuration")
	}
	for where, text := range texts {
		if r := checkedText(t, text); r.Code != exitOK || r.Stderr != "" || !strings.Contains(r.Stdout, "[service.") {
			t.Errorf("%s: %+v", where, r)
		}
	}
}
