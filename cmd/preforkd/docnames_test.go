package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mattn/go-shellwords"
	"github.com/spf13/cobra"

	"github.com/preforkd/preforkd/master/config"
)

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
