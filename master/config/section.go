package config

import (
	"bytes"
	"crypto/sha256"

	"github.com/pelletier/go-toml/v2/unstable"
)

// A section is the part of a file that is about one service, or about the
// master: from the line of its first header to that of the next section's.
type section struct {
	service string // "" for the master
	text    []byte
	line    int // of the file, where it begins
}

// A digest tells whether two sections have the same text. The text itself would
// keep the whole file in memory.
type digest [sha256.Size]byte

func (s *section) digest() digest { return sha256.Sum256(s.text) }

// splitSections returns the sections of a file. It reports false for a file that
// has other parts, or in which a service has more than one: then a section does
// not tell all of its service, and only the whole file does. It reports false for
// bad syntax as well.
func splitSections(text []byte) (sections []section, ok bool) {
	var p unstable.Parser
	p.Reset(text)
	seen := map[string]bool{}
	line, start := 1, 0
	for p.NextExpression() {
		e := p.Expression()
		if e.Kind == unstable.KeyValue && len(sections) == 0 {
			return nil, false
		}
		if e.Kind == unstable.KeyValue {
			continue
		}
		top, service, offset, depth := header(e)
		if n := len(sections); n > 0 && top == "service" && depth > 2 && service == sections[n-1].service {
			continue // a table within that of the service
		}
		switch {
		case e.Kind != unstable.Table, top == "master" && depth != 1, top == "service" && depth != 2,
			top != "master" && top != "service", top == "service" && service == "", seen[service]:
			return nil, false
		}
		seen[service] = true
		begin := bytes.LastIndexByte(text[:offset], '\n') + 1
		line += bytes.Count(text[start:begin], []byte{'\n'})
		if n := len(sections); n > 0 {
			sections[n-1].text = text[start:begin]
		}
		start = begin
		sections = append(sections, section{service: service, text: text[begin:], line: line})
	}
	return sections, p.Error() == nil
}

// header returns the first two parts of a table's header, how many it has, and
// where the first one is.
func header(e *unstable.Node) (top, second string, offset, depth int) {
	for it := e.Key(); it.Next(); depth++ {
		switch k := it.Node(); depth {
		case 0:
			top, offset = string(k.Data), int(k.Raw.Offset)
		case 1:
			second = string(k.Data)
		}
	}
	return top, second, offset, depth
}
