package terminal

import (
	"strings"
	"testing"
)

func TestNewStyle(t *testing.T) {
	for _, c := range []struct {
		env          map[string]string
		colour, dumb bool
	}{
		{map[string]string{"TERM": "xterm"}, true, false},
		{nil, true, false},
		{map[string]string{"NO_COLOR": ""}, true, false},
		{map[string]string{"NO_COLOR": "1"}, false, false},
		{map[string]string{"TERM": "dumb"}, false, true},
	} {
		s := newStyle("> ", "", func(key string) string { return c.env[key] })
		if s.colour != c.colour || s.dumb != c.dumb {
			t.Errorf("%v: colour %v, dumb %v", c.env, s.colour, s.dumb)
		}
	}
}

func TestCheckName(t *testing.T) {
	for _, name := range []string{"alice", "Alice B.", "ünï", "日本", strings.Repeat("x", maxName)} {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", " a", "a ", "a\nb", "a\x1b", "a\xff", "*", "a\u202eb", strings.Repeat("x", maxName+1)} {
		if CheckName(name) == nil {
			t.Errorf("%q was accepted", name)
		}
	}
}

func TestIntroducer(t *testing.T) {
	long := strings.Repeat("x", 200)
	for _, c := range []struct{ stream, name, shown string }{
		{Introduction("alice") + "hi\n", "alice", "hi\n"},
		{Introduction(strings.Repeat("日", maxName)) + "hi\n", strings.Repeat("日", maxName), "hi\n"},
		{"hi\n" + Introduction("alice"), "", "hi\n* alice is here\n"},
		{"* alice is here", "", "* alice is here"},
		{"* \x1b[31m is here\n", "", "* \x1b[31m is here\n"},
		{"*\n", "", "*\n"},
		{"* " + long + "\n", "", "* " + long + "\n"},
		{"", "", ""},
	} {
		for size := range uint(20) {
			var i introParser
			var name, shown string
			for _, p := range cut([]byte(c.stream), size) {
				show, n := i.take([]byte(p))
				shown += string(show)
				name += n
			}
			shown += string(i.flush())
			if name != c.name || shown != c.shown {
				t.Errorf("%q in pieces of %d: name %q, shown %q", c.stream, size+1, name, shown)
			}
		}
	}
	// A first line that is no introduction is not held back until its end.
	var i introParser
	if show, _ := i.take([]byte("h")); string(show) != "h" {
		t.Errorf("the first byte of a line was held back, %q was shown", show)
	}
}

func TestUsableName(t *testing.T) {
	for _, c := range []struct {
		name, own string
		want      bool
	}{{"alice", "", true}, {"alice", "bob", true}, {"You", "", false}, {"Bob", "bob", false}, {"you", "bob", false}} {
		if peerNameAllowed(c.name, c.own) != c.want {
			t.Errorf("%q beside %q: usable is %v", c.name, c.own, !c.want)
		}
	}
}
