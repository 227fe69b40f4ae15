package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// checkParsedAlone checks that a service means the same when nothing but its text is
// known.
func checkParsedAlone(t *testing.T, s *Service) {
	t.Helper()
	again, err := ParseService(s.Name, s.TOML())
	if err != nil {
		t.Fatal(err)
	}
	if !again.Equal(s) || !s.Equal(&again) {
		t.Errorf("(-first +alone):\n%s", cmp.Diff(*s, again, sameConfig...))
	}
}

func TestParseServiceLooksForNothing(t *testing.T) {
	s, err := ParseService("a", `
		[service.a]
		listen = ["nobody.invalid:7"]
		program = ["/nonexistent/program"]
		directory = "/nonexistent"
		user = "nobody-at-all"
		allow = ["uid:nobody-at-all"]
		socket-owner = "nobody-at-all"
		[service.a.box]
		root-directory = "/nonexistent"
		[[service.a.rule]]
		from = ["gid:nobody-at-all"]
		program = ["/nonexistent/other"]`)
	if err != nil || s.Handoff != HandoffStdio || s.Box.RootDirectory != "/nonexistent" || len(s.Rules) != 1 {
		t.Errorf("%v, %+v", err, s)
	}
	checkParsedAlone(t, &s)
}

// The one who reads the error has no file where it is.
func TestParseServiceErrors(t *testing.T) {
	for text, want := range map[string]string{
		"listen = [":                            "service a: ",
		"handler = 'echo'\nspare = 1":           `service.a: unknown key "spare"; did you mean "spares"?`,
		"handler = 'echo'\nburst = 7":           "service.a: burst 7: there is no rate",
		"handler = 'echo'\n[service.b]":         "service.b: handler or program is missing",
		"handler = 'echo'\n[master]":            "service a: its section is not that of this one service",
		"":                                      "service.a: handler or program is missing",
		"handler = 'echo'\nsource-prefix-v4=33": "service.a: source-prefix-v4 33: ",
	} {
		_, err := ParseService("a", "[service.a]\n"+text)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s\nis wrong because %v, want %s", text, err, want)
		}
	}
	if _, err := ParseService("b", "[service.a]\nhandler = 'echo'\n"); err == nil {
		t.Error("service a is service b")
	}
}
