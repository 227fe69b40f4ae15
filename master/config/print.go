package config

import (
	"fmt"
	"strings"
)

// TOML returns the whole configuration as the text of a file, with all
// defaults. Parse of this text returns the same configuration. The fields of
// Run have no keys and are missing.
func (c *Config) TOML() string {
	var b strings.Builder
	b.WriteString("[master]\n")
	printTable(&b, masterKeys, c, anyKey)
	for i := range c.Services {
		b.WriteString("\n" + c.Services[i].TOML())
	}
	return b.String()
}

// TOML returns the tables of a service, with all defaults. The table of its box
// is missing if a file without it means the same. Services with the same text
// have the same configuration.
func (s *Service) TOML() string {
	var b strings.Builder
	header := "service." + tomlKey(s.Name)
	fmt.Fprintf(&b, "[%s]\n", header)
	printTable(&b, serviceKeys, s, anyKey)
	if s.printsBox() {
		fmt.Fprintf(&b, "\n[%s.box]\n", header)
		printTable(&b, boxKeys, s, s.Box.printsBoxKey)
	}
	for i := range s.Rules {
		fmt.Fprintf(&b, "\n[[%s.rule]]\n", header)
		printTable(&b, ruleKeys, &s.Rules[i], anyKey)
	}
	return b.String()
}

// printTable prints the keys that have a value and that prints is true for.
func printTable[T any](b *strings.Builder, keys []key[T], from *T, prints func(name string) bool) {
	width := 0
	for _, k := range keys {
		if _, ok := k.format(from); ok && prints(k.name) {
			width = max(width, len(k.name))
		}
	}
	for _, k := range keys {
		if value, ok := k.format(from); ok && prints(k.name) {
			fmt.Fprintf(b, "%-*s = %s\n", width, k.name, value)
		}
	}
}

func anyKey(string) bool { return true }

// tomlKey formats a key. It quotes the key unless it consists of letters,
// digits, '_' and '-'.
func tomlKey(s string) string {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return tomlString(s)
		}
	}
	if s == "" {
		return `""`
	}
	return s
}

// A Table describes a table of a configuration file, for the manual.
type Table struct {
	Name  string // as in a file, with its brackets
	About string
	Keys  []Key
}

// A Key describes a key of a table, for the manual.
type Key struct {
	Name    string
	Kind    string // of the value: "a string", "a list of integers"
	Usage   string // with the value's name in backquotes
	Default string // as in a file; empty if there is none
}

// Tables describes everything that a configuration file can have.
func Tables() []Table {
	c, service, rule := Default(), DefaultService(), DefaultRule()
	return []Table{
		{"[master]", "What holds for all services together. Flags of serve that have the name of such a key win over it.", tableKeys(masterKeys, &c)},
		{"[service.NAME]", "A service: where it listens, what serves its connections, and for whom. There is at least one. NAME stands in the log and in the workers' environment.", tableKeys(serviceKeys, &service)},
		{"[service.NAME.box]", "The box of each connection of a service: what its processes may see, do and use. The keys below preset change what the preset says. Defaults here are those of preset none. Sizes are written \"512K\", \"64M\" or \"1G\". Of resource limits one value is for soft and hard, and \"\" is preforkd's own (setrlimit(2)). As flags of serve and check the names begin with --box-.", tableKeys(boxKeys, &service)},
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
		if text, ok := k.format(defaults); ok && text != `""` && text != "[]" {
			key.Default = text
		}
		if key.Usage == "" {
			key.Usage = "in place of the service's own, for these peers"
		}
		shown = append(shown, key)
	}
	return shown
}
