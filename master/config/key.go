package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A key is a key of a table in the file, whose value belongs into a T. There is
// one list of keys for each table. The decoder, the flags, the printed
// configuration and the messages all use these lists. So a key exists in all of
// them or in none.
type key[T any] struct {
	name  string
	value string   // stands for the value in help, in capitals
	kind  nodeKind // of the value, or of each item of a list
	list  bool
	usage string

	// decode puts a value into its field, and reports what is wrong with it.
	decode func(r *reader, to *T, n *node)
	// format returns the value as TOML. It returns false when the value is not
	// set and TOML cannot express that.
	format func(from *T) (string, bool)
}

// A reader collects errors and positions while a table is decoded.
type reader struct {
	scope string // the start of each message, such as "service.echo: "; empty for flags
	at    positions
	errs  *ConfigErrors
}

// report reports that a value is wrong.
func (r *reader) report(key string, n *node, format string, args ...any) {
	r.errs.add(n.at, "%s%s %s: %s", r.scope, key, n.describe(), fmt.Sprintf(format, args...))
}

// expect reports whether a value is of a kind. If not, it adds an error.
func (r *reader) expect(key string, n *node, kind nodeKind) bool {
	if n.kind != kind {
		r.report(key, n, "must be %s", kind)
	}
	return n.kind == kind
}

// items returns the items of a list, and records their positions.
func (r *reader) items(key string, n *node) []*node {
	if !r.expect(key, n, kindList) {
		return nil
	}
	for i, item := range n.items {
		r.at.add(key, int32(i), item.at)
	}
	return n.items
}

// parsedKey makes a key whose value is a string that parse understands.
func parsedKey[T, V any](name, value, usage string, field func(*T) *V, parse func(string) (V, error), format func(V) string) key[T] {
	return key[T]{
		name: name, value: value, kind: kindText, usage: usage,
		decode: func(r *reader, to *T, n *node) {
			if !r.expect(name, n, kindText) {
				return
			}
			v, err := parse(n.text)
			if err != nil {
				r.report(name, n, "%v", err)
				return
			}
			*field(to) = v
		},
		format: func(from *T) (string, bool) { return tomlString(format(*field(from))), true },
	}
}

// listKey makes a key whose value is a list of strings that parse understands.
func listKey[T, V any](name, value, usage string, field func(*T) *[]V, parse func(string) (V, error), format func(V) string) key[T] {
	return key[T]{
		name: name, value: value, kind: kindText, list: true, usage: usage,
		decode: func(r *reader, to *T, n *node) {
			var list []V
			for _, item := range r.items(name, n) {
				if !r.expect(name, item, kindText) {
					continue
				}
				v, err := parse(item.text)
				if err != nil {
					r.report(name, item, "%v", err)
					continue
				}
				list = append(list, v)
			}
			*field(to) = list
		},
		format: func(from *T) (string, bool) {
			var items []string
			for _, v := range *field(from) {
				items = append(items, tomlString(format(v)))
			}
			return "[" + strings.Join(items, ", ") + "]", true
		},
	}
}

func parseText(s string) (string, error) { return s, nil }
func formatText(s string) string         { return s }

func textKey[T any](name, value, usage string, field func(*T) *string) key[T] {
	return parsedKey(name, value, usage, field, parseText, formatText)
}

func textsKey[T any](name, value, usage string, field func(*T) *[]string) key[T] {
	return listKey(name, value, usage, field, parseText, formatText)
}

// choiceKey makes a key whose value is one of a few strings.
func choiceKey[T any, V ~string](name, usage string, field func(*T) *V, choices ...V) key[T] {
	parse := func(s string) (V, error) {
		if slices.Contains(choices, V(s)) {
			return V(s), nil
		}
		var names []string
		for _, c := range choices {
			names = append(names, string(c))
		}
		last := len(names) - 1
		return "", fmt.Errorf("must be %s or %s", strings.Join(names[:last], ", "), names[last])
	}
	return parsedKey(name, strings.ToUpper(name), usage, field, parse, func(v V) string { return string(v) })
}

// integerKey makes a key whose value is a whole number within limits.
func integerKey[T any](name, usage string, lowest, highest int, field func(*T) *int) key[T] {
	return key[T]{
		name: name, value: "N", kind: kindInteger, usage: usage,
		decode: func(r *reader, to *T, n *node) {
			if v, ok := r.integer(name, n, lowest, highest); ok {
				*field(to) = v
			}
		},
		format: func(from *T) (string, bool) { return strconv.Itoa(*field(from)), true },
	}
}

func (r *reader) integer(name string, n *node, lowest, highest int) (int, bool) {
	if !r.expect(name, n, kindInteger) {
		return 0, false
	}
	v, err := strconv.ParseInt(strings.ReplaceAll(n.text, "_", ""), 0, 64)
	switch {
	case err == nil && v < int64(lowest):
		r.report(name, n, "must be at least %d", lowest)
	case err != nil || v > int64(highest):
		r.report(name, n, "must be at most %d", highest)
	default:
		return int(v), true
	}
	return 0, false
}

func integersKey[T any](name, usage string, lowest, highest int, field func(*T) *[]int) key[T] {
	return key[T]{
		name: name, value: "N", kind: kindInteger, list: true, usage: usage,
		decode: func(r *reader, to *T, n *node) {
			var list []int
			for _, item := range r.items(name, n) {
				if v, ok := r.integer(name, item, lowest, highest); ok {
					list = append(list, v)
				}
			}
			*field(to) = list
		},
		format: func(from *T) (string, bool) {
			var items []string
			for _, v := range *field(from) {
				items = append(items, strconv.Itoa(v))
			}
			return "[" + strings.Join(items, ", ") + "]", true
		},
	}
}

func boolKey[T any](name, usage string, field func(*T) *bool) key[T] {
	return key[T]{
		name: name, value: "BOOL", kind: kindBool, usage: usage,
		decode: func(r *reader, to *T, n *node) {
			if r.expect(name, n, kindBool) {
				*field(to) = n.text == "true"
			}
		},
		format: func(from *T) (string, bool) { return strconv.FormatBool(*field(from)), true },
	}
}

func durationKey[T any](name, usage string, field func(*T) *time.Duration) key[T] {
	return parsedKey(name, "DURATION", usage, field, parseDuration, time.Duration.String)
}

func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf(`must be a duration such as "30s", "5m" or "1h30m"`)
	}
	if d < 0 {
		return 0, fmt.Errorf("must not be negative")
	}
	return d, nil
}

// optional makes a key whose field is a pointer, and nil while the key is not
// set.
func optional[T, V any](of func(field func(*T) *V) key[T], field func(*T) **V) key[T] {
	// The inner key decodes into the value that the field points to.
	inner := of(func(t *T) *V { return *field(t) })
	decode, format := inner.decode, inner.format
	inner.decode = func(r *reader, to *T, n *node) {
		*field(to) = new(V)
		decode(r, to, n)
	}
	inner.format = func(from *T) (string, bool) {
		if *field(from) == nil {
			return "", false
		}
		return format(from)
	}
	return inner
}

// tomlString formats a basic string of TOML. Bytes that are not UTF-8 become
// U+FFFD. Only flags can contain such bytes.
func tomlString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
