package config

import "strings"

// A Table is a table of a configuration file, as its manual tells of it.
type Table struct {
	Name  string // as a file has it, with its brackets
	About string
	Keys  []Key
}

// A Key is a key of a table.
type Key struct {
	Name    string
	Kind    string // of its value: "a string", "a list of integers"
	Usage   string // with the value's name in backquotes
	Default string // as a file has it; empty for none
}

// Tables returns all there is in a configuration file.
func Tables() []Table {
	c, service, rule := Default(), DefaultService(), DefaultRule()
	return []Table{
		{"[master]", "What holds for all services together.", tableKeys(masterKeys, &c)},
		{"[service.NAME]", "A service: where it listens, what serves its connections, and for whom. There is at least one. NAME stands in the log and in the workers' environment.", tableKeys(serviceKeys, &service)},
		{"[[service.NAME.rule]]", "Other limits, another program or more environment for some peers of a service. Of its rules, allow and deny entries the one with the longest prefix decides.", tableKeys(ruleKeys, &rule)},
	}
}

func tableKeys[T any](keys []key[T], defaults *T) []Key {
	var shown []Key
	for _, k := range keys {
		key := Key{Name: k.name, Kind: string(k.kind), Usage: k.usage}
		if k.list {
			_, item, _ := strings.Cut(string(k.kind), " ")
			key.Kind = string(kindList) + " of " + item + "s"
		}
		if text, ok := k.show(defaults); ok && text != `""` && text != "[]" {
			key.Default = text
		}
		if key.Usage == "" {
			key.Usage = "in place of the service's own, for these peers"
		}
		shown = append(shown, key)
	}
	return shown
}
