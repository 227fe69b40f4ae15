package config

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const trueService = "[service.a]\nlisten = [':1']\nprogram = ['/bin/true']\n"

// check returns the first error of a configuration, "" for none.
func check(t *testing.T, text string) string {
	t.Helper()
	_, err := Parse("f", []byte(text+"\n"+worker(t)), Run{})
	if err == nil {
		return ""
	}
	var errs ConfigErrors
	if !errors.As(err, &errs) {
		t.Fatal(err)
	}
	if len(errs) > 1 {
		t.Errorf("one mistake, several messages:\n%.500v", err)
	}
	return errs[0].Error()
}

// A string that is too long for execve(2) is refused where it stands, and one
// byte less is not.
func TestLongestString(t *testing.T) {
	longest := strings.Repeat("x", maxString()-len("A="))
	for name, c := range map[string]struct{ before, after, want string }{
		"env":                {trueService + "env = ['B=1',\n 'A=", "']", "f:5:2: service.a: env \"A=x"},
		"argument":           {"[service.a]\nlisten = [':1']\nprogram = ['/bin/true', '", "xx']", "f:3:25: service.a: program \"xx"},
		"env of a rule":      {trueService + "[[service.a.rule]]\nfrom = ['::1']\nenv = ['A=", "']", "f:6:8: service.a: rule 1: env \"A=x"},
		"argument of a rule": {trueService + "[[service.a.rule]]\nfrom = ['::1']\nprogram = ['/bin/true', '", "xx']", "f:6:25: service.a: rule 1: program \"xx"},
	} {
		if got := check(t, c.before+longest+c.after); got != "" {
			t.Errorf("%s: %.200s", name, got)
		}
		got := check(t, c.before+"x"+longest+c.after)
		if !strings.HasPrefix(got, c.want) || !strings.HasSuffix(got, fmt.Sprintf(": the kernel takes at most %d bytes", maxString())) {
			t.Errorf("%s: %.200s", name, got)
		}
	}
	// The kernel agrees.
	for extra, want := range map[string]error{"": nil, "x": unix.E2BIG} {
		cmd := exec.Command("/bin/true")
		cmd.Env = []string{"A=" + longest + extra}
		if err := cmd.Run(); !errors.Is(err, want) {
			t.Errorf("%d bytes: %v", len(cmd.Env[0]), err)
		}
	}
}

// Nothing that a program is given can hold a NUL byte.
func TestNUL(t *testing.T) {
	for text, want := range map[string]string{
		trueService + `env = ["A=1", "B=a\u0000b"]`:                                      `f:4:15: service.a: env "B=a\x00b": must not hold a NUL byte`,
		trueService + `env = ["A\u0000=1"]`:                                              `f:4:8: service.a: env "A\x00=1": must be "NAME=value"`,
		"[service.a]\nlisten = [':1']\nprogram = ['/bin/true', \"a\\u0000\"]":            `f:3:25: service.a: program "a\x00": must not hold a NUL byte`,
		"[service.a]\nlisten = [':1']\nprogram = [\"/bin/true\\u0000\"]":                 `f:3:12: service.a: program "/bin/true\x00": must not hold a NUL byte`,
		trueService + "[[service.a.rule]]\nfrom = ['::1']\nprogram = ['a', \"\\u0000\"]": `f:6:17: service.a: rule 1: program "\x00": must not hold a NUL byte`,
		trueService + `directory = "/\u0000"`:                                            `f:4:13: service.a: directory "/\x00": `,
		"[service.a]\nlisten = [\"unix:/a\\u0000\"]\nprogram = ['/bin/true']":            `f:2:11: service.a: listen "unix:/a\x00": `,
	} {
		if got := check(t, text); !strings.HasPrefix(got, want) {
			t.Errorf("%q:\ngot  %s\nwant %s", text, got, want)
		}
	}
}

// Arguments and environment that are too large together are refused: what the
// kernel executes is not, but for the room that a connection's variables need.
func TestTotalSize(t *testing.T) {
	// One string of this many bytes is within the limits.
	const piece = 100_000
	list := func(bytes int) string {
		var items []string
		for i := 0; bytes > 0; i, bytes = i+1, bytes-piece {
			items = append(items, fmt.Sprintf("'V%d=%s'", i, strings.Repeat("x", min(bytes, piece))))
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	limit := maxTotal()
	over := fmt.Sprintf("bytes together, and the kernel takes at most %d", limit)
	rule := "[[service.a.rule]]\nfrom = ['::1']\n"
	for name, c := range map[string]struct{ text, at, want string }{
		"env":                  {trueService + "env = " + list(limit), "f:4:7: service.a: env: arguments and environment have ", over},
		"arguments":            {"[service.a]\nlisten = [':1']\nprogram = ['/bin/true', " + list(limit)[1:], "f:3:11: service.a: program: ", over},
		"env of a rule":        {trueService + "env = " + list(limit/2) + "\n" + rule + "env = " + strings.ReplaceAll(list(limit/2), "'V", "'W"), "f:7:7: service.a: rule 1: env: ", over},
		"together":             {trueService + "env = " + list(limit*3/5) + "\n" + rule + "program = ['/bin/true', " + list(limit * 2 / 5)[1:], "f:7:11: service.a: rule 1: env: ", over},
		"env of spares":        {trueService + "spares = 1\nenv = " + list(16<<10), "f:5:7: service.a: env: spares get", "which takes 16384 bytes, not 1"},
		"env that fits":        {trueService + "env = " + list(limit-8<<10), "", ""},
		"arguments that fit":   {"[service.a]\nlisten = [':1']\nprogram = ['/bin/true', " + list(limit - 8<<10)[1:], "", ""},
		"the same name again":  {trueService + "env = " + list(limit*3/5) + "\n" + rule + "env = " + list(limit*3/5), "", ""},
		"env of spares, less":  {trueService + "spares = 1\nenv = " + list(13<<10), "", ""},
		"env of SDK spares":    {trueService + "handoff = 'worker'\nspares = 1\nenv = " + list(16<<10), "", ""},
		"env of a rule's own":  {trueService + "spares = 1\n" + rule + "program = ['/bin/true']\nenv = " + list(16<<10), "", ""},
		"env of a rule spares": {trueService + "spares = 1\n" + rule + "env = " + list(16<<10), "f:7:7: service.a: rule 1: env: spares get", "not 1"},
	} {
		got := check(t, c.text)
		if !strings.HasPrefix(got, c.at) || !strings.Contains(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%s: %.300s", name, got)
		}
	}
	for size, want := range map[int]error{limit - 8<<10: nil, limit + 8<<10: unix.E2BIG} {
		cmd := exec.Command("/bin/true")
		cmd.Env = []string{}
		for i := 0; size > 0; i, size = i+1, size-piece {
			cmd.Env = append(cmd.Env, fmt.Sprintf("V%d=%s", i, strings.Repeat("x", min(size, piece))))
		}
		if err := cmd.Run(); !errors.Is(err, want) {
			t.Errorf("%d variables: %v", len(cmd.Env), err)
		}
	}
}
