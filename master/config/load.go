package config

import (
	"fmt"
	"slices"
)

// Parse does what Load does, for the text of a file. Errors name the file as
// file.
func Parse(file string, text []byte, run Run) (Config, error) {
	root, err := parseDocument(file, text)
	if err != nil {
		return Config{}, err
	}
	var errs ConfigErrors
	c := decode(root, &errs)
	c.Run = run
	c.override(&errs)
	c.Complete()
	c.settleHandlerBoxes()
	c.validate(&errs)
	return c, errs.err()
}

// decode makes a configuration of a document. What the document does not say
// has its default. What is wrong is reported, and has its default.
func decode(root *table, errs *ConfigErrors) Config {
	c := Default()
	for _, name := range root.order {
		e := root.entries[name]
		switch {
		case name != "master" && name != "service":
			errs.add(e.key, "unknown key %s; %s", quoted(name), suggestion(name, []string{"master", "service"}))
		case e.value.kind != kindTable:
			errs.add(e.value.at, "%s %s: must be a table, written [%s]", name, e.value.describe(), name+map[string]string{"service": ".NAME"}[name])
		case name == "master":
			c.at = decodeTable("master: ", masterKeys, &c, e.value.table, errs, nil)
		default:
			decodeServices(&c, e.value.table, errs)
		}
	}
	if len(c.Services) == 0 && len(*errs) == 0 {
		errs.add(root.at, "there is no service; one begins with [service.NAME]")
	}
	return c
}

// nestedTables are the tables within that of a service.
var nestedTables = []string{"rule", "box"}

func decodeServices(c *Config, services *table, errs *ConfigErrors) {
	for _, name := range services.order {
		e := services.entries[name]
		if e.value.kind != kindTable {
			errs.add(e.value.at, "service %s: must be a table, written [service.NAME]", quoted(name))
			continue
		}
		s := DefaultService()
		s.Name = name
		scope := fmt.Sprintf("service.%s: ", tomlKey(name))
		var box *node
		s.at = decodeTable(scope, serviceKeys, &s, e.value.table, errs, func(key string, n *node) bool {
			switch key {
			case "rule":
				s.Rules = decodeRules(scope, n, errs)
			case "box":
				box = n
			}
			return slices.Contains(nestedTables, key)
		})
		s.resolveSpares(s.at.has, s.at.find("spares"), scope, errs)
		s.decodeBox(scope, box, errs)
		if !s.at.has("handler") && !s.at.has("program") {
			errs.add(e.value.table.at, "%shandler or program is missing", scope)
		}
		c.Services = append(c.Services, s)
	}
}

func decodeRules(scope string, n *node, errs *ConfigErrors) []Rule {
	var rules []Rule
	if n.kind != kindList {
		errs.add(n.at, "%srule %s: must be a list of tables, written [[service.NAME.rule]]", scope, n.describe())
		return nil
	}
	for i, item := range n.items {
		scope := fmt.Sprintf("%srule %d: ", scope, i+1)
		if item.kind != kindTable {
			errs.add(item.at, "%s%s: must be a table, written [[service.NAME.rule]]", scope, item.describe())
			continue
		}
		rule := DefaultRule()
		rule.at = decodeTable(scope, ruleKeys, &rule, item.table, errs, nil)
		if !rule.at.has("from") {
			errs.add(item.at, "%sfrom is missing", scope)
		}
		rules = append(rules, rule)
	}
	return rules
}

// decodeTable decodes the keys of one table and returns their positions. For a
// key that is not in the list it calls other, which may be nil and reports
// whether it knows the key.
func decodeTable[T any](scope string, keys []key[T], to *T, t *table, errs *ConfigErrors, other func(key string, n *node) bool) positions {
	r := reader{scope: scope, at: positions{"": t.at}, errs: errs}
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
			allowed = append(allowed, nestedTables...)
		}
		errs.add(e.key, "%sunknown key %s; %s", scope, quoted(name), suggestion(name, allowed))
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
