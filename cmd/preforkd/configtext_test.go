package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// A file that an editor has saved with a byte-order mark serves as any other.
func TestByteOrderMark(t *testing.T) {
	t.Parallel()
	m := configured(t, 1, "\ufeff"+single(catting))
	c := m.Dial(t)
	c.Echo(t, "hello")
	c.Close()
	if e := reloaded(t, m, "\ufeff"+single(catting, "max-connections = 7")); e.Changed != "one" {
		t.Errorf("%s", e.Line)
	}
	if e := m.Reload(t, "\ufeff[service.one]\nlisten = [“127.0.0.1:0”]\n"); !strings.HasSuffix(e.Error, m.Config+":2:11: not valid TOML: unexpected character U+201C '“' at start of value") {
		t.Errorf("%s", e.Line)
	}
}

// What no program can be started with is refused before anything is, with its
// place; what is just short of that reaches the program.
func TestUnstartable(t *testing.T) {
	t.Parallel()
	path := filepath.Join(systest.Dir(t), "preforkd.toml")
	long := strings.Repeat("x", 128<<10)
	most := long[:len(long)-len("A=")-1]
	for name, c := range map[string]struct{ text, at, says string }{
		"NUL in env":             {single(catting, `env = ["A=1\u0000"]`), ":4:8: service.one: env ", "must not hold a NUL byte"},
		"NUL in an argument":     {single(`program = ["/bin/cat", "a\u0000b"]`), ":3:24: service.one: program ", "must not hold a NUL byte"},
		"no name":                {single(catting, `env = ["=A=1"]`), ":4:8: service.one: env ", `must be "NAME=value"`},
		"long variable":          {single(catting, `env = ["B=1",`, `"A=`+long+`"]`), ":5:1: service.one: env ", "the kernel takes at most "},
		"long argument":          {single(`program = ["/bin/cat", "` + long + `"]`), ":3:24: service.one: program ", "the kernel takes at most "},
		"long argument in rules": {single(catting, "[[service.one.rule]]", `from = ["::1"]`, `program = ["/bin/cat", "`+long+`"]`), ":6:24: service.one: rule 1: program ", "the kernel takes at most "},
		"too much together":      {single(`program = ["/bin/cat"` + strings.Repeat(`, "`+most+`"`, 60) + `]`), ":3:11: service.one: program: ", "and the kernel takes at most "},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{"check", "serve"} {
			r := systest.Run(t, command, "--config", path)
			if r.Code != 2 || !strings.HasPrefix(r.Stderr, path+c.at) || !strings.Contains(r.Stderr, c.says) || strings.Count(r.Stderr, "\n") != 1 {
				t.Errorf("%s, %s: exit code %d, %.300q", command, name, r.Code, r.Stderr)
			}
		}
	}
	m := configured(t, 1, single(`program = ["/bin/sh", "-c", "echo ${#A} ${#1}", "sh", "`+most+`"]`, `env = ["A=`+most+`"]`))
	if got, want := m.Dial(t).ExpectEnd(t), fmt.Sprintf("%d %d\n", len(most), len(most)); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
