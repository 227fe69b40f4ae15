package config

import (
	"slices"
	"strconv"
	"strings"
)

// A Flag describes a key as a flag of the command line.
type Flag struct {
	Name    string
	Value   string // stands for the value in help
	Usage   string // with the value's name in backquotes
	Default string // for help; empty if it is not worth mentioning
	Master  bool   // belongs to the master, and may be given beside a file
	List    bool   // may be given several times, and each adds an item
	Bool    bool   // may be given without a value, and is then true
}

// Flags returns the flags of a service without a file, and of the master. The
// handler and the program are arguments instead, and rules need a file.
func Flags() []Flag {
	service, master := DefaultService(), Default()
	service.Listen = []Address{}
	ofMaster := flagsOf(masterKeys, &master)
	for i := range ofMaster {
		ofMaster[i].Master = true
	}
	ofBox := flagsOf(boxKeys, &service)
	for i := range ofBox {
		ofBox[i].Name = boxPrefix + ofBox[i].Name
	}
	return slices.Concat(flagsOf(serviceKeys, &service), ofBox, ofMaster)
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
			case "none", "0s", "0", "false", infinity:
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
// ConfigErrors.
func FromFlags(flags map[string][]string, handler string, program []string, run Run) (Config, error) {
	var errs ConfigErrors
	c, s := Default(), DefaultService()
	s.Handler, s.Program = handler, program
	setFlags("", serviceKeys, &s, flags, &errs)
	s.resolveSpares(func(key string) bool { return len(flags[key]) > 0 }, Position{}, "", &errs)
	s.setBoxFlags(flags, &errs)
	setFlags("", masterKeys, &c, flags, &errs)
	c.Services, c.Run = []Service{s}, run
	c.Complete()
	c.settleHandlerBoxes()
	c.validate(&errs)
	return c, errs.err()
}

// override sets the master's keys that Run.Flags give. An error about one of them
// names the flag and has no place in the file.
func (c *Config) override(errs *ConfigErrors) {
	r := reader{scope: "--", errs: errs}
	for _, k := range masterKeys {
		texts := c.Flags[k.name]
		if len(texts) == 0 {
			continue
		}
		before, _ := k.format(c)
		k.decode(&r, c, flagsNode(k.kind, k.list, texts))
		if after, _ := k.format(c); c.at.has(k.name) && before != after {
			c.Overridden = append(c.Overridden, k.name)
		}
		c.at.set(k.name, Position{})
	}
}

// setFlags sets what flags say that are named like the keys, with a prefix.
func setFlags[T any](prefix string, keys []key[T], to *T, flags map[string][]string, errs *ConfigErrors) {
	r := reader{scope: prefix, errs: errs}
	for _, k := range keys {
		if texts := flags[prefix+k.name]; len(texts) > 0 {
			k.decode(&r, to, flagsNode(k.kind, k.list, texts))
		}
	}
}

// flagsNode makes a node of the texts that were given for a flag.
func flagsNode(kind nodeKind, list bool, texts []string) *node {
	n := &node{kind: kindList}
	for _, text := range texts {
		n.items = append(n.items, flagNode(kind, text))
	}
	if list {
		return n
	}
	return n.items[len(n.items)-1] // the last one counts, as is usual for flags
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
