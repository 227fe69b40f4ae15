package manual

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Options are what pages hold beside the commands' own texts.
type Options struct {
	Version string
	Date    string // of the pages, or ""
	// Sections are added to the pages of commands, by the page's name.
	Sections map[string][]Section
}

// A Section is a section of a page: prose, then items, then sections of its own.
type Section struct {
	Title, Text string
	Items       []Item
	Sections    []Section
}

// An Item is a term and what is said of it.
type Item struct{ Term, Text string }

// commandPages returns the pages of a program and of its commands by the names
// of their files. The commands' own subcommands are on their page.
func commandPages(root *cobra.Command, o Options) map[string]string {
	root.InitDefaultCompletionCmd()
	pages := map[string]string{root.Name() + ".1": commandPage(root, o)}
	for _, c := range commands(root) {
		pages[pageName(c)+".1"] = commandPage(c, o)
	}
	return pages
}

// commands returns the subcommands that people use.
func commands(of *cobra.Command) []*cobra.Command {
	return slices.DeleteFunc(slices.Clone(of.Commands()), func(c *cobra.Command) bool {
		return !c.IsAvailableCommand() || c.Name() == "help"
	})
}

// pageName is the name of a command's page: preforkd-serve.
func pageName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

func commandPage(c *cobra.Command, o Options) string {
	var p page
	name := pageName(c)
	p.title(name, 1, o)
	p.section("NAME")
	p.WriteString(escape(name) + ` \- ` + escape(lowerFirst(c.Short)) + "\n")
	p.section("SYNOPSIS")
	p.synopsis(c)
	p.section("DESCRIPTION")
	p.prose(c.Long)
	if c.Long == "" {
		p.prose(c.Short + ".")
	}
	if subcommands := commands(c); len(subcommands) > 0 {
		p.section("COMMANDS")
		for _, sub := range subcommands {
			term := bold(sub.Name())
			if !c.HasParent() {
				term = bold(pageName(sub)) + "(1)"
			}
			p.item(term, sub.Short)
		}
	}
	if c.HasAvailableLocalFlags() {
		p.section("OPTIONS")
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				p.flag(f)
			}
		})
	}
	if c.Example != "" {
		p.section("EXAMPLES")
		p.example(strings.Split(strings.Trim(c.Example, "\n"), "\n"))
	}
	for _, s := range o.Sections[name] {
		p.section(strings.ToUpper(s.Title))
		p.content(s)
	}
	p.section("SEE ALSO")
	p.seeAlso(c)
	return p.String()
}

// content writes what a section has below its title.
func (p *page) content(s Section) {
	if s.Text != "" {
		p.prose(s.Text)
	}
	for _, i := range s.Items {
		p.item(bold(i.Term), upperFirst(i.Text)+".")
	}
	for _, sub := range s.Sections {
		p.subsection(sub.Title)
		p.content(sub)
	}
}

// synopsis writes how a command is used: its name in bold, the rest as it is.
func (p *page) synopsis(c *cobra.Command) {
	if c.HasParent() || !c.HasAvailableSubCommands() {
		rest := strings.TrimPrefix(c.UseLine(), c.CommandPath())
		fmt.Fprintf(p, "%s%s\n", bold(c.CommandPath()), escape(rest))
		return
	}
	fmt.Fprintf(p, "%s %s [%s]\n", bold(c.CommandPath()), italic("COMMAND"), italic("ARGUMENT")+` .\|.\|.`)
}

// flag writes an option and what it is for.
func (p *page) flag(f *pflag.Flag) {
	value, usage := pflag.UnquoteUsage(f)
	term := bold("--" + f.Name)
	if f.Shorthand != "" {
		term = bold("-"+f.Shorthand) + ", " + term
	}
	switch {
	case value == "":
	case f.NoOptDefVal != "":
		term += "[=" + italic(value) + "]"
	default:
		term += " " + italic(value)
	}
	usage = upperFirst(usage)
	switch f.DefValue {
	case "", "0", "0s", "false", "[]":
	default:
		usage += fmt.Sprintf(" (default %s)", f.DefValue)
	}
	p.item(term, usage+".")
}

// seeAlso refers to the page of the program, from there to all of them, and to
// the page of the configuration from where one is taken.
func (p *page) seeAlso(c *cobra.Command) {
	var others []string
	if c.HasParent() {
		others = append(others, bold(pageName(c.Root()))+"(1)")
	} else {
		for _, sub := range commands(c) {
			others = append(others, bold(pageName(sub))+"(1)")
		}
	}
	if !c.HasParent() || c.Flags().Lookup("config") != nil {
		others = append(others, bold(configurationPage)+"(5)")
	}
	p.WriteString(strings.Join(others, ",\n") + "\n")
}

func upperFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
