package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A key is a key of a table: its name, what it is for, how its value is read
// into a T, and how it is written back. Everything that knows the keys, the
// decoder, the flags, the printed configuration and the messages, goes by the
// lists of them, so that a key exists everywhere or nowhere.
type key[T any] struct {
	name  string
	value string   // what stands for the value in help, in capitals
	kind  nodeKind // of the value, or of the items of a list
	list  bool
	usage string

	// read puts a value into its field and reports what is wrong with it.
	read func(r *reader, to *T, n *node)
	// show returns the value as TOML, or false when it is not set and has no
	// way to say so.
	show func(from *T) (string, bool)
}

// A reader collects mistakes and positions while a table is read.
type reader struct {
	scope    string // "service.echo: " in front of messages; empty for flags
	at       positions
	mistakes *Mistakes
}

// bad reports a value.
func (r *reader) bad(key string, n *node, format string, args ...any) {
	r.mistakes.add(n.at, "%s%s %s: %s", r.scope, key, n.found(), fmt.Sprintf(format, args...))
}

// is reports whether a value is of a kind, and complains if it is not.
func (r *reader) is(key string, n *node, kind nodeKind) bool {
	if n.kind != kind {
		r.bad(key, n, "must be %s", kind)
	}
	return n.kind == kind
}

// items returns the items of a list with their positions noted.
func (r *reader) items(key string, n *node) []*node {
	if !r.is(key, n, kindList) {
		return nil
	}
	for i, item := range n.items {
		r.at[key+"["+strconv.Itoa(i)+"]"] = item.at
	}
	return n.items
}

// parsedKey is a key whose value is a string of some form.
func parsedKey[T, V any](name, value, usage string, field func(*T) *V, parse func(string) (V, error), format func(V) string) key[T] {
	return key[T]{
		name: name, value: value, kind: kindText, usage: usage,
		read: func(r *reader, to *T, n *node) {
			if !r.is(name, n, kindText) {
				return
			}
			v, err := parse(n.text)
			if err != nil {
				r.bad(name, n, "%v", err)
				return
			}
			*field(to) = v
		},
		show: func(from *T) (string, bool) { return tomlString(format(*field(from))), true },
	}
}

// listKey is a key whose value is a list of strings of some form.
func listKey[T, V any](name, value, usage string, field func(*T) *[]V, parse func(string) (V, error), format func(V) string) key[T] {
	return key[T]{
		name: name, value: value, kind: kindText, list: true, usage: usage,
		read: func(r *reader, to *T, n *node) {
			var list []V
			for _, item := range r.items(name, n) {
				if !r.is(name, item, kindText) {
					continue
				}
				v, err := parse(item.text)
				if err != nil {
					r.bad(name, item, "%v", err)
					continue
				}
				list = append(list, v)
			}
			*field(to) = list
		},
		show: func(from *T) (string, bool) {
			var items []string
			for _, v := range *field(from) {
				items = append(items, tomlString(format(v)))
			}
			return "[" + strings.Join(items, ", ") + "]", true
		},
	}
}

func asItIs(s string) (string, error) { return s, nil }
func same(s string) string            { return s }

func textKey[T any](name, value, usage string, field func(*T) *string) key[T] {
	return parsedKey(name, value, usage, field, asItIs, same)
}

func textsKey[T any](name, value, usage string, field func(*T) *[]string) key[T] {
	return listKey(name, value, usage, field, asItIs, same)
}

// choiceKey is a key with a closed list of values.
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

// integerKey is a key whose value is a whole number within bounds.
func integerKey[T any](name, usage string, least, most int, field func(*T) *int) key[T] {
	return key[T]{
		name: name, value: "N", kind: kindInteger, usage: usage,
		read: func(r *reader, to *T, n *node) {
			if v, ok := r.integer(name, n, least, most); ok {
				*field(to) = v
			}
		},
		show: func(from *T) (string, bool) { return strconv.Itoa(*field(from)), true },
	}
}

func (r *reader) integer(name string, n *node, least, most int) (int, bool) {
	if !r.is(name, n, kindInteger) {
		return 0, false
	}
	v, err := strconv.ParseInt(strings.ReplaceAll(n.text, "_", ""), 0, 64)
	switch {
	case err == nil && v < int64(least):
		r.bad(name, n, "must be at least %d", least)
	case err != nil || v > int64(most):
		r.bad(name, n, "must be at most %d", most)
	default:
		return int(v), true
	}
	return 0, false
}

func integersKey[T any](name, usage string, least, most int, field func(*T) *[]int) key[T] {
	return key[T]{
		name: name, value: "N", kind: kindInteger, list: true, usage: usage,
		read: func(r *reader, to *T, n *node) {
			var list []int
			for _, item := range r.items(name, n) {
				if v, ok := r.integer(name, item, least, most); ok {
					list = append(list, v)
				}
			}
			*field(to) = list
		},
		show: func(from *T) (string, bool) {
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
		read: func(r *reader, to *T, n *node) {
			if r.is(name, n, kindBool) {
				*field(to) = n.text == "true"
			}
		},
		show: func(from *T) (string, bool) { return strconv.FormatBool(*field(from)), true },
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

// optional makes a key whose field is nil for as long as it is not set.
func optional[T, V any](of func(field func(*T) *V) key[T], field func(*T) **V) key[T] {
	// The inner key reads into, and writes from, whatever the field points to.
	inner := of(func(t *T) *V { return *field(t) })
	read, show := inner.read, inner.show
	inner.read = func(r *reader, to *T, n *node) {
		*field(to) = new(V)
		read(r, to, n)
	}
	inner.show = func(from *T) (string, bool) {
		if *field(from) == nil {
			return "", false
		}
		return show(from)
	}
	return inner
}

// tomlString writes a basic string of TOML. Bytes that are no UTF-8, which
// only flags can hold, come out as U+FFFD.
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
