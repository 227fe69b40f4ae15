package human

import (
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestDuration(t *testing.T) {
	for _, test := range []struct {
		d    time.Duration
		want string
	}{
		{0, "0µs"},
		{1, "0µs"},
		{700 * time.Microsecond, "700µs"},
		{999_499, "999µs"},
		{999_500, "1.0ms"},
		{1249 * time.Microsecond, "1.2ms"},
		{9949 * time.Microsecond, "9.9ms"},
		{9950 * time.Microsecond, "10ms"},
		{35 * time.Millisecond, "35ms"},
		{999_499_999, "999ms"},
		{999_500_000, "1.0s"},
		{1234 * time.Millisecond, "1.2s"},
		{9949 * time.Millisecond, "9.9s"},
		{9950 * time.Millisecond, "10s"},
		{59_499 * time.Millisecond, "59s"},
		{59_500 * time.Millisecond, "1m00s"},
		{123 * time.Second, "2m03s"},
		{time.Hour - 501*time.Millisecond, "59m59s"},
		{time.Hour - 500*time.Millisecond, "1h00m"},
		{3*time.Hour + 5*time.Minute, "3h05m"},
		{24*time.Hour - 31*time.Second, "23h59m"},
		{24*time.Hour - 30*time.Second, "1d00h"},
		{12*24*time.Hour + 4*time.Hour, "12d04h"},
		{-35 * time.Millisecond, "-35ms"},
	} {
		if got := Duration(test.d); got != test.want {
			t.Errorf("%v: got %s, want %s", test.d, got, test.want)
		}
	}
}

func TestSize(t *testing.T) {
	for _, test := range []struct {
		n    uint64
		want string
	}{
		{0, "0 B"},
		{5, "5 B"},
		{1023, "1023 B"},
		{1024, "1.0 KiB"},
		{102_348, "99.9 KiB"},
		{102_349, "100 KiB"},
		{1023<<10 + 511, "1023 KiB"},
		{1023<<10 + 512, "1.0 MiB"},
		{1_258_291, "1.2 MiB"},
		{1 << 40, "1.0 TiB"},
		{1<<64 - 1, "16.0 EiB"},
	} {
		if got := Size(test.n); got != test.want {
			t.Errorf("%d: got %s, want %s", test.n, got, test.want)
		}
	}
}

func TestNumbersFitTheirColumns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, int64(99*24*time.Hour)).Draw(t, "duration"))
		if s := Duration(d); utf8.RuneCountInString(s) > DurationWidth {
			t.Errorf("%v is %s", d, s)
		}
		n := rapid.Uint64().Draw(t, "size")
		if s := Size(n); len(s) > SizeWidth {
			t.Errorf("%d is %s", n, s)
		}
	})
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1:7007":     "127.0.0.1:7007",
		"unix:/run/Größe":    "unix:/run/Größe",
		"":                   "",
		"a\x1b[2Jb":          `"a\x1b[2Jb"`,
		"two\nlines":         `"two\nlines"`,
		"\xff":               `"\xff"`,
		"right\u202eto left": `"right\u202eto left"`,
		"\u009b31m":          `"\u009b31m"`,
	} {
		if got := Printable(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}
