package logging

import (
	"bytes"
	"time"

	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"
)

// jsonTime is RFC 3339 with microseconds. Times are in UTC, so the lines of
// several machines can be sorted as text.
const jsonTime = "2006-01-02T15:04:05.000000Z07:00"

// A jsonEncoder is zap's JSON encoder, and its lines are safe to show on a
// terminal.
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
	// zap's own encoder can format into its buffer without a string.
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
	// zap escapes only what JSON requires, the control characters below space
	// (RFC 8259 section 7). It does not escape DEL and the C1 controls, which
	// are two bytes in UTF-8 and begin with 0xc2. One of them, 0x9b, starts a
	// control sequence like ESC [.
	if b := line.Bytes(); bytes.IndexByte(b, 0x7f) >= 0 || bytes.IndexByte(b, 0xc2) >= 0 {
		escaped := escapeControls(b)
		line.Reset()
		_, _ = line.Write(escaped) // a buffer never fails
	}
	return line, nil
}

// escapeControls returns the JSON text b with DEL and the C1 controls written
// as \u00XX. They can only occur in strings.
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
