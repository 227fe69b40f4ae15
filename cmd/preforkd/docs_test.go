package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/manual"
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

// headings returns the names by which links lead to the headings of a document, as
// the sites make them on which it is read.
func headings(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(treeTop, path))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(text), -1) {
		name := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		found = append(found, strings.ReplaceAll(name, " ", "-"))
	}
	return found
}

// Every link leads somewhere, and the README leads to every document.
func TestDocumentsLink(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	var fromReadme []string
	for _, d := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(d.prose, -1) {
			target, heading, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			path := d.path
			if target != "" {
				path = filepath.Join(filepath.Dir(d.path), target)
			}
			if heading != "" && !slices.Contains(headings(t, path), heading) {
				t.Errorf("%s: link to %s: there is no such heading", d.path, m[1])
			}
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
