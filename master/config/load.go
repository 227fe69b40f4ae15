package config

import (
	"fmt"
	"slices"
)

// Parse does what Load does, for the text of a file. Errors name the file as
// file.
func Parse(file string, text []byte, run Run) (Config, error) {
	return parse(file, text, run, nil)
}

// parse parses a file section by section, and takes from base what is as it was.
// If anything is wrong with the file, the whole of it is parsed at once: sections
// tell what a file means, and not what is wrong with it.
func parse(file string, text []byte, run Run, base *Base) (Config, error) {
	source, err := newFileText(file, text)
	if err != nil {
		return Config{}, err
	}
	if c, ok := parseSections(source, run, base); ok {
		return c, nil
	}
	return parseWhole(source, run)
}

func parseWhole(source *fileText, run Run) (Config, error) {
	root, err := source.parse()
	if err != nil {
		return Config{}, err
	}
	var errs ConfigErrors
	c := Default()
	c.Run = run
	c.decode(root, &errs)
	if len(c.Services) == 0 && len(errs) == 0 {
		errs.add(root.at, "there is no service; one begins with [service.NAME]")
	}
	c.override(&errs)
	c.settle()
	c.finish(&errs)
	return c, errs.err()
}

// parseSections reports false if a section does not tell all of its service, or if
// anything is wrong.
func parseSections(source *fileText, run Run, base *Base) (Config, bool) {
	sections, ok := splitSections(source.bytes)
	if !ok {
		return Config{}, false
	}
	var errs ConfigErrors
	c := Default()
	c.Run = run
	c.takeBoxes(base)
	// The services depend on keys of the master, wherever they are written.
	if i := slices.IndexFunc(sections, func(s section) bool { return s.service == "" }); i >= 0 {
		c.decodeSection(source.file, &sections[i], &errs)
		c.at = c.at.moved(sections[i].line)
		sections = slices.Delete(sections, i, i+1)
	}
	c.override(&errs)
	c.settle()
	c.Services = make([]Service, 0, len(sections))
	for i := range sections {
		d := sections[i].digest()
		s, ok := c.take(base, &sections[i], d)
		if ok {
			c.Services = append(c.Services, s)
			continue
		}
		c.decodeSection(source.file, &sections[i], &errs)
		if len(errs) > 0 {
			return c, false
		}
		last := &c.Services[len(c.Services)-1]
		last.moveTo(sections[i].line)
		last.digest = d
	}
	c.finish(&errs)
	return c, len(errs) == 0 && len(c.Services) > 0
}

// decodeSection decodes a section, with the positions that a file would have that
// is only the section. An error does not have to say where it is.
func (c *Config) decodeSection(file string, s *section, errs *ConfigErrors) {
	root, err := parseDocument(file, s.text)
	if err != nil {
		errs.add(Position{}, "%v", err)
		return
	}
	c.decode(root, errs)
}

// finish completes and validates a configuration that was decoded.
func (c *Config) finish(errs *ConfigErrors) {
	c.Complete()
	c.settleHandlerBoxes()
	c.validate(errs)
	for i := range c.Services {
		s := &c.Services[i]
		if s.kept {
			continue
		}
		s.shareBox()
		s.findFromTextAlone(c.defaultBoxes())
		for _, n := range s.accounts() {
			c.known.account(n) // for the next load
		}
	}
}

// decode decodes a document. What the document does not say keeps its default.
// What is wrong is reported, and keeps its default, too.
func (c *Config) decode(root *table, errs *ConfigErrors) {
	for _, name := range root.order {
		e := root.entries[name]
		switch {
		case name != "master" && name != "service":
			errs.add(e.key, "unknown key %s; %s", quoted(name), suggestion(name, []string{"master", "service"}))
		case e.value.kind != kindTable:
			errs.add(e.value.at, "%s %s: must be a table, written [%s]", name, e.value.describe(), name+map[string]string{"service": ".NAME"}[name])
		case name == "master":
			c.at = decodeTable("master: ", masterKeys, c, e.value.table, errs, nil)
		default:
			decodeServices(c, e.value.table, errs)
		}
	}
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
		s.decodeBox(scope, box, c.defaultBoxes(), errs)
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
	r := reader{scope: scope, at: newPositions(t.at), errs: errs}
next:
	for _, name := range t.order {
		e := t.entries[name]
		for _, k := range keys {
			if k.name == name {
				r.at.add(k.name, notItem, e.value.at)
				k.decode(&r, to, e.value)
				continue next
			}
		}
		if other != nil && other(name, e.value) {
			r.at.add(name, notItem, e.value.at)
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
	r.at.places = slices.Clip(r.at.places)
	return r.at
}
