package config

import (
	"strconv"
	"strings"
)

// A Flag describes a key as a flag of the command line.
type Flag struct {
	Name    string
	Value   string // stands for the value in help
	Usage   string // with the value's name in backquotes
	Default string // for help; empty if it is not worth mentioning
	List    bool   // may be given several times, and each adds an item
	Bool    bool   // may be given without a value, and is then true
}

// Flags returns the flags of a service without a file, and of the master. The
// handler and the program are arguments instead, and rules need a file.
func Flags() []Flag {
	service, master := DefaultService(), Default()
	service.Listen = []Address{}
	return append(flagsOf(serviceKeys, &service), flagsOf(masterKeys, &master)...)
}

func flagsOf[T any](keys []key[T], defaults *T) []Flag {
	var flags []Flag
	for _, k := range keys {
		if k.name == "handler" || k.name == "program" {
			continue
		}
		f := Flag{Name: k.name, Value: k.value, Usage: k.usage, List: k.list, Bool: k.kind == kindBool}
		if text, ok := k.format(defaults); ok && !k.list {
			switch f.Default = strings.Trim(text, `"`); f.Default {
			case "none", "0s", "0", "false":
				f.Default = ""
			}
		}
		flags = append(flags, f)
	}
	return flags
}

// FromFlags makes a configuration with one service. It takes the flags, as the
// texts that were given for each name, and a handler or a program. It completes
// and validates the configuration. If it is wrong, the error is of type
// Mistakes.
func FromFlags(flags map[string][]string, handler string, program []string, run Run) (Config, error) {
	var mistakes Mistakes
	c, s := Default(), DefaultService()
	s.Handler, s.Program = handler, program
	setFlags(serviceKeys, &s, flags, &mistakes)
	s.resolveSpares(func(key string) bool { return len(flags[key]) > 0 }, Position{}, "", &mistakes)
	setFlags(masterKeys, &c, flags, &mistakes)
	c.Services, c.Run = []Service{s}, run
	c.Complete()
	c.validate(&mistakes)
	return c, mistakes.err()
}

func setFlags[T any](keys []key[T], to *T, flags map[string][]string, mistakes *Mistakes) {
	r := reader{at: positions{}, mistakes: mistakes}
	for _, k := range keys {
		texts, ok := flags[k.name]
		if !ok || len(texts) == 0 {
			continue
		}
		n := &node{kind: kindList}
		for _, text := range texts {
			n.items = append(n.items, flagNode(k.kind, text))
		}
		if !k.list {
			n = n.items[len(n.items)-1] // the last one counts, as is usual for flags
		}
		k.decode(&r, to, n)
	}
}

// flagNode makes a node of a flag's text. If the text is not of the key's kind,
// the node is a string, and the key reports it.
func flagNode(kind nodeKind, text string) *node {
	n := &node{kind: kindText, text: text}
	switch kind {
	case kindInteger:
		if _, err := strconv.ParseInt(text, 10, 64); err == nil {
			n.kind = kindInteger
			n.text = strings.TrimPrefix(text, "+")
			for len(n.text) > 1 && n.text[0] == '0' {
				n.text = n.text[1:] // otherwise it would count as octal
			}
		}
	case kindBool:
		if b, err := strconv.ParseBool(text); err == nil {
			n.kind, n.text = kindBool, strconv.FormatBool(b)
		}
	}
	return n
}
