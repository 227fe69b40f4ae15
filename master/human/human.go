package human

import (
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"
)

// The maximum widths of the formats, in characters.
const (
	DurationWidth = 6 // "12d04h"
	SizeWidth     = 8 // "1023 KiB"
)

// Duration rounds d to two or three digits: 700µs, 1.2ms, 35ms, 1.2s, 42s,
// 2m03s, 3h05m, 12d04h. Below 100 days the result has at most DurationWidth
// characters.
func Duration(d time.Duration) string {
	if d < 0 {
		return "-" + Duration(-d)
	}
	// The limit of each form is where the rounded value needs the next form: 999.5ms is
	// 1.0s.
	const ms, day = time.Millisecond, 24 * time.Hour
	switch {
	case d.Round(time.Microsecond) < ms:
		return fmt.Sprintf("%dµs", d.Round(time.Microsecond)/time.Microsecond)
	case d.Round(ms/10) < 10*ms:
		return fmt.Sprintf("%.1fms", float64(d.Round(ms/10))/float64(ms))
	case d.Round(ms) < time.Second:
		return fmt.Sprintf("%dms", d.Round(ms)/ms)
	case d.Round(100*ms) < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Round(100*ms).Seconds())
	case d.Round(time.Second) < time.Minute:
		return fmt.Sprintf("%ds", d.Round(time.Second)/time.Second)
	case d.Round(time.Second) < time.Hour:
		s := d.Round(time.Second) / time.Second
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case d.Round(time.Minute) < day:
		m := d.Round(time.Minute) / time.Minute
		return fmt.Sprintf("%dh%02dm", m/60, m%60)
	}
	h := d.Round(time.Hour) / time.Hour
	return fmt.Sprintf("%dd%02dh", h/24, h%24)
}

// Size rounds n bytes to three digits, in powers of 1024: 5 B, 1.2 MiB, 1023
// KiB. The result has at most SizeWidth characters.
func Size(n uint64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v := float64(n)
	for _, unit := range []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"} {
		v /= 1024
		switch {
		case v < 99.95:
			return fmt.Sprintf("%.1f %s", v, unit)
		case v < 1023.5 || unit == "EiB":
			return fmt.Sprintf("%.0f %s", v, unit)
		}
	}
	return "" // never reached, because EiB has no limit
}

// Printable returns s if it has printable characters only, and otherwise s
// quoted as in Go source. The result has no control sequence, and no character
// that changes the direction of the text.
func Printable(s string) string {
	for _, r := range s {
		// A byte that is not UTF-8 appears here as U+FFFD.
		if r == utf8.RuneError || !strconv.IsPrint(r) {
			return strconv.Quote(s)
		}
	}
	return s
}
