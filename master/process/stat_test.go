package process

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const rest = " S 4711 12 11 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 1 0 12345 1000000 300 18446744073709551615 1"
	for _, name := range []string{"(cat)", "(a) Z 1 (b)", "(a) b (c) R 7)", "(\n)", "()"} {
		got, ok := parseStat([]byte("42 " + name + rest + "\n"))
		want := stat{state: 'S', parent: 4711, group: 12, session: 11, flags: 4194560, cpu: 2 * time.Second, rss: 300 * uint64(os.Getpagesize())}
		if !ok || got != want || got.ended() {
			t.Errorf("%q: %+v, %v; want %+v", name, got, ok, want)
		}
	}
	for _, state := range []string{"Z", "X"} {
		if got, ok := parseStat([]byte("42 (cat) " + state + rest[2:])); !ok || !got.ended() {
			t.Errorf("state %s: %+v, %v", state, got, ok)
		}
	}
	for _, text := range []string{
		"",
		"42 (cat",
		"42 (cat) S 1 2 3",
		"42 (cat S" + rest[2:],
		"42 (" + strings.Repeat(")", 1000),
		"42 (cat)" + rest[:3] + "x" + rest[3:],
		"42 (cat)" + rest[:37] + "x" + rest[37:],
		"42 (cat)" + strings.Replace(rest, " 150 ", " -150 ", 1),
		"42 (cat)" + strings.Replace(rest, " 300 ", " 99999999999999999999 ", 1),
	} {
		if got, ok := parseStat([]byte(text)); ok {
			t.Errorf("%q: %+v", text, got)
		}
	}
}
