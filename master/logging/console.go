package logging

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"

	"github.com/preforkd/preforkd/master/human"
)

// consoleTime is the time of the day in local time. A person at a terminal
// knows the date.
const consoleTime = "15:04:05.000"

// A consoleEncoder writes events for people, as rows of a table:
//
//	time          level  event         service   conn          address                pid
//	15:04:05.123  info   reaped        echo      mi8f2k1c-123  127.0.0.1:50312        pid 4711
//
//	     ended           reason     took    bytes                    cpu         memory
//	...  exit 0          eof          1.2s  in      5 B  out      5 B  cpu  2.1ms  rss  4.1 MiB
//
// A value that is too long for its column moves the rest of its own line only.
// Fields without a column follow as key=value.
type consoleEncoder struct {
	*zapcore.MapObjectEncoder // the fields of With
	colour                    bool
}

func newConsoleEncoder(colour bool) zapcore.Encoder {
	return consoleEncoder{zapcore.NewMapObjectEncoder(), colour}
}

func (e consoleEncoder) Clone() zapcore.Encoder {
	clone := zapcore.NewMapObjectEncoder()
	maps.Copy(clone.Fields, e.Fields)
	return consoleEncoder{clone, e.colour}
}

// The widths of the columns, in characters. The widest number fits its column.
// Other columns fit what is usual.
const (
	widthLevel    = 5
	widthEvent    = 12
	widthService  = 8
	widthConn     = 12 // "mi8f2k1c-123"
	widthAddress  = 21 // an IPv4 address and a port
	widthPID      = 11
	widthEnded    = 14 // "signal SIGSEGV"
	widthReason   = 9
	widthDuration = human.DurationWidth
	widthSize     = human.SizeWidth
)

var lines = buffer.NewPool()

func (e consoleEncoder) EncodeEntry(entry zapcore.Entry, fields []zapcore.Field) (*buffer.Buffer, error) {
	row := newRow(e.Fields, fields)
	line := lines.Get()
	e.paint(line, dim, entry.Time.Local().Format(consoleTime))
	line.AppendString("  ")
	colour := levelColour(entry.Level)
	name, event := levelName(entry.Level), human.Printable(entry.Message)
	e.paint(line, colour, name)
	line.AppendString(padding(name, widthLevel) + "  ")
	e.paint(line, colour, event)
	columns := strings.TrimRight(row.columns(), " ")
	if columns != "" || len(row.rest) > 0 {
		line.AppendString(padding(event, widthEvent) + columns)
	}
	for _, f := range row.rest {
		line.AppendByte(' ')
		line.AppendByte(' ')
		line.AppendString(clean(f.key))
		line.AppendByte('=')
		line.AppendString(clean(text(f.value)))
	}
	line.AppendByte('\n')
	return line, nil
}

// A row holds the fields of an event.
type row struct {
	known map[string]any // the fields that have a column
	rest  []field        // the others, in the order in which they were given
}

type field struct {
	key   string
	value any
}

// columnKeys are the fields that have a column.
var columnKeys = []string{
	keyService, keyConn, keyPeer, keyLocal, keyPID, keyExitCode, keySignal, keyReason,
	keyDuration, keyBytesIn, keyBytesOut, keyUserTime, keySysTime, keyMaxRSS,
}

func newRow(context map[string]any, fields []zapcore.Field) row {
	all := make([]field, 0, len(context)+len(fields))
	for _, key := range slices.Sorted(maps.Keys(context)) {
		all = append(all, field{key, context[key]})
	}
	values := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		if f.Type == zapcore.NamespaceType {
			continue // it would contain all later fields; no event has one
		}
		// Usually this adds one key. An inlined object may add several.
		f.AddTo(values)
		for _, key := range slices.Sorted(maps.Keys(values.Fields)) {
			all = append(all, field{key, values.Fields[key]})
		}
		clear(values.Fields)
	}
	r := row{known: make(map[string]any)}
	for _, f := range all {
		if slices.Contains(columnKeys, f.key) {
			r.known[f.key] = f.value
		} else {
			r.rest = append(r.rest, f)
		}
	}
	// The address column shows the peer, or else the address of the listener.
	// With both, the listener's address is an ordinary field. The end of a
	// connection does not show it: the line is long, and the line of the start
	// has it.
	local, ended := r.known[keyLocal], r.known[keyDuration] != nil
	if local != nil && r.known[keyPeer] != nil && !ended {
		r.rest = append([]field{{keyLocal, local}}, r.rest...)
	}
	return r
}

// columns returns the columns, each after two spaces. An event that is not
// about a connection or a listener has no empty columns.
func (r row) columns() string {
	address := r.get(keyPeer, "")
	if address == "" {
		address = r.get(keyLocal, "")
	}
	tabular := address != "" || r.known[keyConn] != nil

	var out strings.Builder
	column := func(value string, width int) {
		if value == "" && !tabular {
			return
		}
		out.WriteString("  ")
		out.WriteString(value + padding(value, width))
	}
	column(r.get(keyService, ""), widthService)
	column(r.get(keyConn, ""), widthConn)
	column(address, widthAddress)
	column(r.get(keyPID, "pid "), widthPID)
	ended := r.get(keyExitCode, "exit ")
	if signal := r.get(keySignal, "signal "); signal != "" {
		ended = signal
	}
	column(ended, widthEnded)
	column(r.get(keyReason, ""), widthReason)
	number := func(name, value string, width int) {
		if value != "" {
			value = name + padding(value, width) + value
		}
		column(value, len(name)+width)
	}
	number("", r.duration(keyDuration), widthDuration)
	number("in ", r.size(keyBytesIn), widthSize)
	number("out ", r.size(keyBytesOut), widthSize)
	number("cpu ", r.duration(keyUserTime, keySysTime), widthDuration)
	number("rss ", r.size(keyMaxRSS), widthSize)
	return out.String()
}

// get returns the text of a field with a prefix, or "" if there is no such
// field.
func (r row) get(key, prefix string) string {
	value, ok := r.known[key]
	if !ok {
		return ""
	}
	return prefix + clean(text(value))
}

// duration returns the sum of the fields that exist, or "" if there is none.
func (r row) duration(keys ...string) string {
	var sum time.Duration
	found := false
	for _, key := range keys {
		if d, ok := r.known[key].(time.Duration); ok {
			sum += d
			found = true
		}
	}
	if !found {
		return ""
	}
	return human.Duration(sum)
}

func (r row) size(key string) string {
	switch n := r.known[key].(type) {
	case uint64:
		return human.Size(n)
	case int64:
		return human.Size(uint64(max(n, 0)))
	}
	return ""
}

// text returns the text of a value for people.
func text(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case time.Duration:
		return human.Duration(v)
	}
	return fmt.Sprint(value)
}

// clean makes a value safe to show on a terminal. It quotes the value as in Go
// source if the reader could not see where the value ends.
func clean(s string) string {
	if s == "" || strings.ContainsAny(s, " \"=") {
		return strconv.Quote(s)
	}
	return human.Printable(s)
}

// padding returns the spaces that s needs to be width characters wide.
func padding(s string, width int) string {
	return strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

// levelName returns the name of a level. Warnings and errors are in capitals,
// so they are visible without colours, too.
func levelName(level zapcore.Level) string {
	if level >= zapcore.WarnLevel {
		return level.CapitalString()
	}
	return level.String()
}
