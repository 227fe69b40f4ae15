package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// A node is a value of a TOML document and where it stands. The decoder of
// go-toml stops at the first value that does not fit and forgets where the
// others stood; a person is told about all mistakes at once, so the document
// is read into nodes first and understood afterwards.
type node struct {
	at    Position
	kind  nodeKind
	text  string // of text: the string itself; of all other values: as written
	items []*node
	table *table
}

type nodeKind string

const (
	kindText    nodeKind = "a string"
	kindInteger nodeKind = "an integer"
	kindFloat   nodeKind = "a number with a fraction"
	kindBool    nodeKind = "true or false"
	kindTime    nodeKind = "a date or time"
	kindList    nodeKind = "a list"
	kindTable   nodeKind = "a table"
)

// A table is a TOML table: its values by key, in the order they were written.
type table struct {
	at      Position // of its header, or of what first mentioned it
	entries map[string]*entry
	order   []string
}

type entry struct {
	key   Position
	value *node
}

func newTable(at Position) *table { return &table{at: at, entries: map[string]*entry{}} }

func (t *table) put(name string, key Position, value *node) {
	t.entries[name] = &entry{key, value}
	t.order = append(t.order, name)
}

// parseDocument reads a whole TOML document. The first error of the syntax is
// the only one: what follows it cannot be read with confidence.
func parseDocument(file string, text []byte) (*table, error) {
	// A first pass by the decoder checks what is not a matter of syntax alone,
	// for instance that no key is defined twice.
	var discard map[string]any
	if err := toml.Unmarshal(text, &discard); err != nil {
		return nil, syntaxMistake(file, err)
	}
	d := document{file: file}
	d.parser.Reset(text)
	root := newTable(d.position(unstable.Range{}))
	current := root
	for d.parser.NextExpression() {
		switch e := d.parser.Expression(); e.Kind {
		case unstable.Table:
			current = d.open(root, e, false)
		case unstable.ArrayTable:
			current = d.open(root, e, true)
		case unstable.KeyValue:
			d.keyValue(current, e)
		}
	}
	if err := d.parser.Error(); err != nil {
		return nil, syntaxMistake(file, err)
	}
	return root, nil
}

func syntaxMistake(file string, err error) error {
	at := Position{File: file, Line: 1, Column: 1}
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		at.Line, at.Column = decode.Position()
	}
	text := strings.TrimPrefix(err.Error(), "toml: ")
	return Mistakes{{at, "not valid TOML: " + strings.Map(oneLine, text)}}
}

// oneLine replaces what would break a message into several lines or reach a
// terminal as a command.
func oneLine(r rune) rune {
	if !strconv.IsPrint(r) {
		return '.'
	}
	return r
}

type document struct {
	file   string
	parser unstable.Parser
}

func (d *document) position(r unstable.Range) Position {
	start := d.parser.Shape(r).Start
	return Position{File: d.file, Line: start.Line, Column: start.Column}
}

type keyPart struct {
	name string
	at   Position
}

func (d *document) key(n *unstable.Node) []keyPart {
	var parts []keyPart
	for it := n.Key(); it.Next(); {
		k := it.Node()
		parts = append(parts, keyPart{string(k.Data), d.position(k.Raw)})
	}
	return parts
}

// below returns the table of a name in t, which it makes if need be. In an
// array of tables it is the last one. The first pass has made sure that the
// name is not taken by something else.
func below(t *table, k keyPart) *table {
	e := t.entries[k.name]
	if e == nil {
		made := newTable(k.at)
		t.put(k.name, k.at, &node{at: k.at, kind: kindTable, table: made})
		return made
	}
	if e.value.kind == kindList && len(e.value.items) > 0 {
		return e.value.items[len(e.value.items)-1].table
	}
	return e.value.table
}

// open returns the table of a header, [a.b] or [[a.b]].
func (d *document) open(root *table, n *unstable.Node, array bool) *table {
	parts := d.key(n)
	last := parts[len(parts)-1]
	t := root
	for _, part := range parts[:len(parts)-1] {
		t = below(t, part)
	}
	if !array {
		opened := below(t, last)
		opened.at = last.at
		return opened
	}
	e := t.entries[last.name]
	if e == nil {
		t.put(last.name, last.at, &node{at: last.at, kind: kindList})
		e = t.entries[last.name]
	}
	item := newTable(last.at)
	e.value.items = append(e.value.items, &node{at: last.at, kind: kindTable, table: item})
	return item
}

func (d *document) keyValue(t *table, n *unstable.Node) {
	parts := d.key(n)
	last := parts[len(parts)-1]
	for _, part := range parts[:len(parts)-1] {
		t = below(t, part)
	}
	t.put(last.name, last.at, d.value(n.Value(), d.afterEquals(n)))
}

// afterEquals returns where the value of a key begins. Arrays have no position
// of their own in the parser's tree.
func (d *document) afterEquals(n *unstable.Node) Position {
	var end uint32
	for it := n.Key(); it.Next(); {
		end = it.Node().Raw.Offset + it.Node().Raw.Length
	}
	text := d.parser.Data()
	for int(end) < len(text) && strings.IndexByte(" \t=", text[end]) >= 0 {
		end++
	}
	return d.position(unstable.Range{Offset: end})
}

// value makes a node of a value. An array within an array gets the position of
// the outer one.
func (d *document) value(n *unstable.Node, fallback Position) *node {
	v := &node{at: fallback, text: string(n.Data)}
	if n.Raw.Length > 0 {
		v.at = d.position(n.Raw)
	}
	switch n.Kind {
	case unstable.String:
		v.kind = kindText
	case unstable.Integer:
		v.kind = kindInteger
	case unstable.Float:
		v.kind = kindFloat
	case unstable.Bool:
		v.kind = kindBool
	case unstable.Array:
		v.kind = kindList
		for it := n.Children(); it.Next(); {
			v.items = append(v.items, d.value(it.Node(), v.at))
		}
	case unstable.InlineTable:
		v.kind, v.table = kindTable, newTable(v.at)
		for it := n.Children(); it.Next(); {
			d.keyValue(v.table, it.Node())
		}
	default:
		v.kind = kindTime
	}
	return v
}

// found describes a value in a message: what it is and, where that fits into a
// line, what it says.
func (n *node) found() string {
	switch n.kind {
	case kindText:
		return quoted(n.text)
	case kindList, kindTable:
		return string(n.kind)
	}
	return n.text
}

// quoted quotes a string for a message, cut when it is long.
func quoted(s string) string {
	const limit = 80
	if len(s) > limit {
		return fmt.Sprintf("%q... (%d bytes)", s[:limit], len(s))
	}
	return strconv.Quote(s)
}
