package process

import (
	"os"
	"testing"
	"time"
)

func TestParseUsage(t *testing.T) {
	const rest = " S 4711 1 1 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 1 0 12345 1000000 300 18446744073709551615 1"
	for _, name := range []string{"(cat)", "(a) Z 1 (b)", "()"} {
		u, parent, ok := parseUsage([]byte("42 " + name + rest + "\n"))
		want := Usage{CPU: 2 * time.Second, RSS: 300 * uint64(os.Getpagesize())}
		if !ok || parent != 4711 || u != want {
			t.Errorf("%s: %+v of %d, %v", name, u, parent, ok)
		}
	}
	for _, text := range []string{"", "42 (cat", "42 (cat) S 1 2", "42 (cat) Z" + rest[2:], "42 (cat)" + rest[:37] + "x" + rest[37:]} {
		if u, _, ok := parseUsage([]byte(text)); ok {
			t.Errorf("%q: %+v", text, u)
		}
	}
}

// What is no child of this process is not told about.
func TestUsageOfAStranger(t *testing.T) {
	if u, ok := UsageOf(os.Getpid(), make([]byte, 1024)); ok {
		t.Errorf("%+v", u)
	}
}
