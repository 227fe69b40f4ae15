package logging

import (
	"maps"
	"slices"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"

	"github.com/preforkd/preforkd/master/human"
)

// journalSeparator separates the two forms of an event. Neither form contains
// it: the first has only printable characters, and the second is JSON.
const journalSeparator = 0

// A journalEncoder writes an event twice on one line: as the sentence that
// journalctl shows, and as a JSON object with the fields.
type journalEncoder struct {
	*zapcore.MapObjectEncoder // the fields of With
	json                      zapcore.Encoder
}

func newJournalEncoder() zapcore.Encoder {
	return journalEncoder{zapcore.NewMapObjectEncoder(), newJSONEncoder()}
}

func (e journalEncoder) Clone() zapcore.Encoder {
	clone := zapcore.NewMapObjectEncoder()
	maps.Copy(clone.Fields, e.Fields)
	return journalEncoder{clone, e.json}
}

func (e journalEncoder) EncodeEntry(entry zapcore.Entry, fields []zapcore.Field) (*buffer.Buffer, error) {
	line := lines.Get()
	line.AppendString(sentence(entry.Message, newRow(e.Fields, fields)))
	line.AppendByte(journalSeparator)
	all := make([]zapcore.Field, 0, len(e.Fields)+len(fields))
	for _, key := range slices.Sorted(maps.Keys(e.Fields)) {
		all = append(all, zap.Any(key, e.Fields[key]))
	}
	object, err := e.json.EncodeEntry(entry, append(all, fields...))
	if err != nil {
		line.Free()
		return nil, err
	}
	defer object.Free()
	_, _ = line.Write(object.Bytes()) // a buffer never fails
	return line, nil
}

// sentence returns an event as one line for people. It has the text of the
// console's columns without padding.
func sentence(event string, r row) string {
	words := append([]string{human.Printable(event)}, strings.Fields(r.columns())...)
	for _, f := range r.rest {
		words = append(words, clean(f.key)+"="+clean(text(f.value)))
	}
	return strings.Join(words, " ")
}
