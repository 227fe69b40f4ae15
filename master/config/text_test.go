package config

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// Characters outside of ASCII are named as what they are, and count as one.
func TestPlacesAndCharacters(t *testing.T) {
	for text, want := range map[string]string{
		"[service.a]\né = 5\n":                                    "f:2:1: not valid TOML: invalid character at start of key: U+00E9 'é'",
		"[service.a]\nhandler = “echo”\n":                         "f:2:11: not valid TOML: unexpected character U+201C '“' at start of value",
		"[service.a]\nx = \"日本\" ü\n":                             "f:2:10: not valid TOML: expected newline but got U+00FC 'ü'",
		"[service.a]\nx = \"日本\\é\"\n":                            "f:2:8: not valid TOML: invalid escape character U+00E9 'é'",
		"[service.a]\nhandler\u00a0= 'x'\n":                       "f:2:8: not valid TOML: expected '=' after key, found U+00A0",
		"[service.a]\nx = [1 … 2]\n":                              "f:2:8: not valid TOML: expected ',' or ']' after array value, found U+2026 '…'",
		"[service.a]\nx = [1,\u200b2]\n":                          "f:2:8: not valid TOML: unexpected character U+200B at start of value",
		"[service.a]\nx = '日' \xe9\n":                             "f:2:9: not valid TOML: expected newline but got the byte 0xE9, which is not UTF-8",
		"[service.a]\n# caf\xe9\n":                                "f:2:6: not valid TOML: invalid UTF-8 character in comment",
		"[service.a]\nx = '日' y\n":                                "f:2:9: not valid TOML: expected newline but got U+0079 'y'",
		"[service.'é']\n'日本' = 1\n":                               "f:2:1: service.\"é\": unknown key \"日本\"",
		"[service.'é'.x] # ü\n":                                   "f:1:14: service.\"é\": unknown key \"x\"",
		"[master]\n'é' = 1\ncontrol = 5 # ü\nmetrics = 'é' # é\n": "f:3:11: master: control 5: must be a string",
		"[service.a]\nlisten = ['ü:1', ':x']\n":                   "f:2:18: service.a: listen \":x\": port \"x\"",
		// A byte-order mark is no character of the first line.
		byteOrderMark + "é = 5\n":             "f:1:1: not valid TOML: invalid character at start of key: U+00E9 'é'",
		byteOrderMark + "x = 5\n":             "f:1:1: unknown key \"x\"",
		byteOrderMark + byteOrderMark + "x=5": "f:1:1: not valid TOML: invalid character at start of key: U+FEFF",
		"x = 5" + byteOrderMark:               "f:1:6: not valid TOML: expected newline but got U+FEFF",
		byteOrderMark:                         "f:1:1: there is no service",
		"\xff\xfe[\x00s\x00]\x00\n\x00":       "f:1:1: not valid TOML: the text is in UTF-16, and must be in UTF-8",
		"\xfe\xff\x00[\x00s\x00]\x00\n":       "f:1:1: not valid TOML: the text is in UTF-16, and must be in UTF-8",
		"\xff[service.a]\n":                   "f:1:1: not valid TOML: invalid character at start of key: the byte 0xFF, which is not UTF-8",
	} {
		_, err := Parse("f", []byte(text), Run{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q:\ngot  %v\nwant %s", text, err, want)
		}
		if err != nil && !utf8.ValidString(err.Error()) {
			t.Errorf("%q: not UTF-8: %q", text, err)
		}
	}
}

// A file with a byte-order mark means what it means without.
func TestByteOrderMark(t *testing.T) {
	text := minimal + worker(t)
	want, err := Parse("f", []byte(text), Run{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse("f", []byte(byteOrderMark+text), Run{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, sameConfig...); diff != "" {
		t.Error(diff)
	}
	if got.Services[0].at.find("listen") != want.Services[0].at.find("listen") {
		t.Errorf("listen is at %v", got.Services[0].at.find("listen"))
	}
}

// A long text is cut between characters.
func TestQuoted(t *testing.T) {
	for text, want := range map[string]string{
		"é\n\"":                          `"é\n\""`,
		strings.Repeat("a", 80):          `"` + strings.Repeat("a", 80) + `"`,
		strings.Repeat("日", 30):          `"` + strings.Repeat("日", 26) + `"... (90 bytes)`,
		"a" + strings.Repeat("😀", 20):    `"a` + strings.Repeat("😀", 19) + `"... (81 bytes)`,
		strings.Repeat("a", 80) + "\xff": `"` + strings.Repeat("a", 80) + `"... (81 bytes)`,
	} {
		if got := quoted(text); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
