package logging

import (
	"bytes"
	"time"

	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"
)

// jsonTime is RFC 3339 with microseconds; times are in UTC, so that the lines
// of several machines sort as text.
const jsonTime = "2006-01-02T15:04:05.000000Z07:00"

// A jsonEncoder is zap's JSON encoder whose lines are safe to show on a
// terminal as they are.
type jsonEncoder struct{ zapcore.Encoder }

func newJSONEncoder() zapcore.Encoder {
	return jsonEncoder{zapcore.NewJSONEncoder(zapcore.EncoderConfig{
		TimeKey:        "ts",
		LevelKey:       "level",
		MessageKey:     "msg",
		LineEnding:     "\n",
		EncodeTime:     encodeJSONTime,
		EncodeLevel:    zapcore.LowercaseLevelEncoder,
		EncodeDuration: zapcore.SecondsDurationEncoder,
	})}
}

func encodeJSONTime(t time.Time, to zapcore.PrimitiveArrayEncoder) {
	// zap's own encoder formats into its buffer without a string in between.
	type layouter interface{ AppendTimeLayout(time.Time, string) }
	if l, ok := to.(layouter); ok {
		l.AppendTimeLayout(t.UTC(), jsonTime)
		return
	}
	to.AppendString(t.UTC().Format(jsonTime))
}

func (e jsonEncoder) Clone() zapcore.Encoder { return jsonEncoder{e.Encoder.Clone()} }

func (e jsonEncoder) EncodeEntry(entry zapcore.Entry, fields []zapcore.Field) (*buffer.Buffer, error) {
	line, err := e.Encoder.EncodeEntry(entry, fields)
	if err != nil {
		return nil, err
	}
	// JSON wants only the controls below space escaped (RFC 8259 section 7),
	// and so zap does. DEL and the C1 controls, two bytes that begin with 0xc2
	// in UTF-8, are left; among them is 0x9b, which starts a control sequence
	// just as ESC [ does.
	if b := line.Bytes(); bytes.IndexByte(b, 0x7f) >= 0 || bytes.IndexByte(b, 0xc2) >= 0 {
		escaped := escapeControls(b)
		line.Reset()
		_, _ = line.Write(escaped) // a buffer never fails
	}
	return line, nil
}

// escapeControls returns the JSON text b with DEL and the C1 controls written
// as \u00XX. They can only stand inside of strings.
func escapeControls(b []byte) []byte {
	const hex = "0123456789abcdef"
	out := make([]byte, 0, len(b)+16)
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch {
		case c == 0xc2 && i+1 < len(b) && b[i+1] < 0xa0:
			i++
			c = b[i]
		case c != 0x7f:
			out = append(out, c)
			continue
		}
		out = append(out, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
	}
	return out
}
