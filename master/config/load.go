package config

import (
	"fmt"
	"io"
	"os"
)

// maxFile is the maximum size of a configuration file in bytes. Tens of
// thousands of rules fit.
const maxFile = 16 << 20

// Load reads a configuration file, completes it and validates it. If it is
// wrong, the error is of type Mistakes and holds everything that is wrong.
func Load(path string, run Run) (Config, error) {
	file, err := os.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	switch {
	case err != nil:
		return Config{}, fmt.Errorf("read configuration: %w", err)
	case len(text) > maxFile:
		return Config{}, fmt.Errorf("read configuration: %s has more than %d bytes", path, maxFile)
	}
	return Parse(path, text, run)
}

// Parse does what Load does, for the text of a file. Errors name the file as
// file.
func Parse(file string, text []byte, run Run) (Config, error) {
	root, err := parseDocument(file, text)
	if err != nil {
		return Config{}, err
	}
	var mistakes Mistakes
	c := decode(root, &mistakes)
	c.Run = run
	c.Complete()
	c.validate(&mistakes)
	return c, mistakes.err()
}

// decode makes a configuration of a document. What the document does not say
// has its default. What is wrong is reported, and has its default.
func decode(root *table, mistakes *Mistakes) Config {
	c := Default()
	for _, name := range root.order {
		e := root.entries[name]
		switch {
		case name != "master" && name != "service":
			mistakes.add(e.key, "unknown key %s; %s", quoted(name), suggestion(name, []string{"master", "service"}))
		case e.value.kind != kindTable:
			mistakes.add(e.value.at, "%s %s: must be a table, written [%s]", name, e.value.describe(), name+map[string]string{"service": ".NAME"}[name])
		case name == "master":
			c.at = decodeTable("master: ", masterKeys, &c, e.value.table, mistakes, nil)
		default:
			decodeServices(&c, e.value.table, mistakes)
		}
	}
	if len(c.Services) == 0 && len(*mistakes) == 0 {
		mistakes.add(root.at, "there is no service; one begins with [service.NAME]")
	}
	return c
}

func decodeServices(c *Config, services *table, mistakes *Mistakes) {
	for _, name := range services.order {
		e := services.entries[name]
		if e.value.kind != kindTable {
			mistakes.add(e.value.at, "service %s: must be a table, written [service.NAME]", quoted(name))
			continue
		}
		s := DefaultService()
		s.Name = name
		scope := fmt.Sprintf("service.%s: ", tomlKey(name))
		s.at = decodeTable(scope, serviceKeys, &s, e.value.table, mistakes, func(key string, n *node) bool {
			if key == "rule" {
				s.Rules = decodeRules(scope, n, mistakes)
			}
			return key == "rule"
		})
		s.resolveSpares(s.at.has, s.at.find("spares"), scope, mistakes)
		if !s.at.has("handler") && !s.at.has("program") {
			mistakes.add(e.value.table.at, "%shandler or program is missing", scope)
		}
		c.Services = append(c.Services, s)
	}
}

func decodeRules(scope string, n *node, mistakes *Mistakes) []Rule {
	var rules []Rule
	if n.kind != kindList {
		mistakes.add(n.at, "%srule %s: must be a list of tables, written [[service.NAME.rule]]", scope, n.describe())
		return nil
	}
	for i, item := range n.items {
		scope := fmt.Sprintf("%srule %d: ", scope, i+1)
		if item.kind != kindTable {
			mistakes.add(item.at, "%s%s: must be a table, written [[service.NAME.rule]]", scope, item.describe())
			continue
		}
		rule := DefaultRule()
		rule.at = decodeTable(scope, ruleKeys, &rule, item.table, mistakes, nil)
		if !rule.at.has("from") {
			mistakes.add(item.at, "%sfrom is missing", scope)
		}
		rules = append(rules, rule)
	}
	return rules
}

// decodeTable decodes the keys of one table and returns their positions. For a
// key that is not in the list it calls other, which may be nil and reports
// whether it knows the key.
func decodeTable[T any](scope string, keys []key[T], to *T, t *table, mistakes *Mistakes, other func(key string, n *node) bool) positions {
	r := reader{scope: scope, at: positions{"": t.at}, mistakes: mistakes}
next:
	for _, name := range t.order {
		e := t.entries[name]
		for _, k := range keys {
			if k.name == name {
				r.at[name] = e.value.at
				k.decode(&r, to, e.value)
				continue next
			}
		}
		if other != nil && other(name, e.value) {
			r.at[name] = e.value.at
			continue
		}
		var allowed []string
		for _, k := range keys {
			allowed = append(allowed, k.name)
		}
		if other != nil {
			allowed = append(allowed, "rule")
		}
		mistakes.add(e.key, "%sunknown key %s; %s", scope, quoted(name), suggestion(name, allowed))
	}
	return r.at
}

func (p positions) has(key string) bool { _, ok := p[key]; return ok }

// find returns the position of the first of the keys that has one, or else that
// of the table.
func (p positions) find(keys ...string) Position {
	for _, key := range keys {
		if at, ok := p[key]; ok {
			return at
		}
	}
	return p[""]
}
