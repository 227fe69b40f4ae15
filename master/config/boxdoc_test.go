package config

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The document has every key, with the values of the presets.
func TestBoxDocument(t *testing.T) {
	data, err := os.ReadFile("../../deploy/doc/box.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	shown := map[string][]string{}
	quotes := regexp.MustCompile("`([^`]+)`")
	for line := range strings.Lines(text) {
		if cells := strings.Split(line, "|"); strings.HasPrefix(line, "| `") && len(cells) == 7 {
			values := cells[2:5]
			for i := range values {
				values[i] = strings.Trim(values[i], " `")
				if values[i] == "" {
					values[i] = values[i-1]
				}
			}
			for _, key := range quotes.FindAllStringSubmatch(cells[1], -1) {
				shown[key[1]] = values
			}
		}
	}
	for _, k := range boxKeys {
		values, inTable := shown[k.name]
		delete(shown, k.name)
		if k.name == "require" || sharedKeys[k.name] != "" {
			if !strings.Contains(text, "`"+k.name+"`") {
				t.Errorf("%s is missing", k.name)
			}
			continue
		}
		if !inTable {
			t.Errorf("%s is not in the table", k.name)
			continue
		}
		for i, preset := range []BoxPreset{BoxNone, BoxBasic, BoxStrict} {
			b := PresetBox(preset)
			switch want := boxValue(k, &b); {
			case values[i] == "below":
				if !strings.Contains(text, "    "+want+"\n") {
					t.Errorf("%s of %s is not below: %s", k.name, preset, want)
				}
			case values[i] != want:
				t.Errorf("%s of %s is shown as %s, and is %s", k.name, preset, values[i], want)
			}
		}
	}
	for key := range shown {
		t.Errorf("there is no key %s", key)
	}
}

// The document writes down the default box of built-in handlers.
func TestHandlerBoxDocument(t *testing.T) {
	data, err := os.ReadFile("../../deploy/doc/box.md")
	if err != nil {
		t.Fatal(err)
	}
	_, sample, found := strings.Cut(string(data), "```toml\n[service.closed]\n")
	sample, _, closed := strings.Cut(sample, "```\n")
	if !found || !closed {
		t.Fatal("there is no service closed")
	}
	c, err := Parse("box.md", []byte(worker(t)+"[service.closed]\n"+sample), Run{})
	if err != nil {
		t.Fatal(err)
	}
	want := PresetBox(BoxDefault)
	want.Preset = BoxStrict
	if diff := cmp.Diff(want, *c.Services[0].Box); diff != "" {
		t.Errorf("the default and the document differ (-is +shown):\n%s", diff)
	}
}
