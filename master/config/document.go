package config

import (
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// A node is a value of a TOML document, with its position. The decoder of
// go-toml stops at the first value that does not fit, and loses the positions
// of the others. But a person should see all errors at once. So the document is
// parsed into nodes first, and decoded afterwards.
type node struct {
	at    Position
	kind  nodeKind
	text  string // the content of a string, or another value as it is written
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

// A table is a TOML table: its values by key, and the order of the keys.
type table struct {
	at      Position // of its header, or of the first key that names it
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

// parseDocument parses the text of a file as a TOML document.
func parseDocument(file string, text []byte) (*table, error) {
	source, err := newFileText(file, text)
	if err != nil {
		return nil, err
	}
	return source.parse()
}

// parse parses a whole TOML document. It returns the first syntax error only,
// because what follows cannot be parsed reliably.
func (source *fileText) parse() (*table, error) {
	text := source.bytes
	// The decoder of go-toml also checks rules beyond the syntax, for instance
	// that no key is defined twice.
	var discard map[string]any
	if err := toml.Unmarshal(text, &discard); err != nil {
		return nil, source.syntaxError(err)
	}
	d := document{text: source}
	d.parser.Reset(text)
	root := newTable(d.position(unstable.Range{}))
	current := root
	for d.parser.NextExpression() {
		switch e := d.parser.Expression(); e.Kind {
		case unstable.Table:
			current = d.openTable(root, e, false)
		case unstable.ArrayTable:
			current = d.openTable(root, e, true)
		case unstable.KeyValue:
			d.keyValue(current, e)
		}
	}
	if err := d.parser.Error(); err != nil {
		return nil, source.syntaxError(err)
	}
	return root, nil
}

type document struct {
	text   *fileText
	parser unstable.Parser
}

func (d *document) position(r unstable.Range) Position {
	return d.text.position(int(r.Offset))
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

// childTable returns the table with a name in t, and makes it if it is missing.
// In an array of tables it returns the last one. go-toml's decoder has already
// checked that the name has no other kind of value.
func childTable(t *table, k keyPart) *table {
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

// openTable returns the table that a header, [a.b] or [[a.b]], begins.
func (d *document) openTable(root *table, n *unstable.Node, array bool) *table {
	parts := d.key(n)
	last := parts[len(parts)-1]
	t := root
	for _, part := range parts[:len(parts)-1] {
		t = childTable(t, part)
	}
	if !array {
		opened := childTable(t, last)
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
		t = childTable(t, part)
	}
	t.put(last.name, last.at, d.value(n.Value(), d.valueStart(n)))
}

// valueStart returns the position of a key's value. The parser gives arrays no
// position.
func (d *document) valueStart(n *unstable.Node) Position {
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
// the outer array.
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

// describe describes a value for a message, by its kind or by its text.
func (n *node) describe() string {
	switch n.kind {
	case kindText:
		return quoted(n.text)
	case kindList, kindTable:
		return string(n.kind)
	}
	return n.text
}
