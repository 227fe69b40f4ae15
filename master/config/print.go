package config

import (
	"fmt"
	"strings"
)

// TOML returns the whole configuration as a file, defaults included. Parsing
// it gives the same configuration. Once and Wrap, which have no keys, are left
// out.
func (c *Config) TOML() string {
	var b strings.Builder
	b.WriteString("[master]\n")
	printTable(&b, masterKeys, c)
	for i := range c.Services {
		b.WriteString("\n" + c.Services[i].TOML())
	}
	return b.String()
}

// TOML returns the tables of a service, defaults included. Services with the
// same text are configured the same.
func (s *Service) TOML() string {
	var b strings.Builder
	header := "service." + tomlKey(s.Name)
	fmt.Fprintf(&b, "[%s]\n", header)
	printTable(&b, serviceKeys, s)
	for i := range s.Rules {
		fmt.Fprintf(&b, "\n[[%s.rule]]\n", header)
		printTable(&b, ruleKeys, &s.Rules[i])
	}
	return b.String()
}

func printTable[T any](b *strings.Builder, keys []key[T], from *T) {
	width := 0
	for _, k := range keys {
		if _, ok := k.show(from); ok {
			width = max(width, len(k.name))
		}
	}
	for _, k := range keys {
		if value, ok := k.show(from); ok {
			fmt.Fprintf(b, "%-*s = %s\n", width, k.name, value)
		}
	}
}

// tomlKey writes a key, quoted unless it is made of letters, digits, '_' and '-'.
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
