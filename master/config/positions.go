package config

import (
	"slices"
	"strconv"
	"strings"
)

// positions holds places of values in a table of the file. The key of a value is
// its name, of an item of a list "key[0]", and of the table "". The zero
// positions are those of flags.
//
// A master may keep those of thousands of services, so they take little, and
// they stay what they are when the lines move that they are in: lines count from
// first.
type positions struct {
	file   string
	first  int // the line of the file that line 1 of a place is
	places []place
}

// A place is where a value is: of a key, or of an item of a list. It has no line
// if the value comes from a flag.
type place struct {
	key          string
	item         int32 // of the list, or notItem
	line, column int32
}

const notItem = -1

// newPositions returns the positions of a table that begins somewhere.
func newPositions(at Position) positions {
	p := positions{file: at.File, first: 1}
	p.add("", notItem, at)
	return p
}

// add records where a value is that has no place yet.
func (p *positions) add(key string, item int32, at Position) {
	line := 0
	if at.IsValid() {
		line = at.Line - p.first + 1
	}
	p.places = append(p.places, place{key, item, int32(line), int32(at.Column)})
}

// set records where a value is, in place of what was recorded before.
func (p *positions) set(key string, at Position) {
	p.places = slices.DeleteFunc(slices.Clone(p.places), func(at place) bool { return at.key == key && at.item == notItem })
	p.add(key, notItem, at)
}

// inFile reports whether the table is one of a file.
func (p *positions) inFile() bool { return len(p.places) > 0 }

// table returns the positions of a part of the table that has none of its own.
func (p *positions) table() positions {
	q := *p
	q.places = slices.Clip(p.places[:min(len(p.places), 1)])
	return q
}

// moved returns the same places, counted from another line.
func (p positions) moved(first int) positions {
	p.first = first
	return p
}

// lookup returns the place of a key, which may be that of an item.
func (p *positions) lookup(key string) (at Position, ok bool) {
	name, index, isItem := strings.Cut(key, "[")
	item := notItem
	if isItem {
		item, _ = strconv.Atoi(strings.TrimSuffix(index, "]"))
	}
	for _, at := range p.places {
		switch {
		case at.key != name || at.item != int32(item):
		case at.line == 0:
			return Position{}, true
		default:
			return Position{File: p.file, Line: int(at.line) + p.first - 1, Column: int(at.column)}, true
		}
	}
	return Position{}, false
}

func (p positions) has(key string) bool { _, ok := p.lookup(key); return ok }

// find returns the position of the first of the keys that has one, or else that
// of the table.
func (p positions) find(keys ...string) Position {
	for _, key := range keys {
		if at, ok := p.lookup(key); ok {
			return at
		}
	}
	at, _ := p.lookup("")
	return at
}
