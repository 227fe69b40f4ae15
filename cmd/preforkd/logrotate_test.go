package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// The log in a file is rotated as operations.md says: what was logged is in the
// copy, and the master goes on at the beginning of the file.
func TestLogRotation(t *testing.T) {
	t.Parallel()
	logrotate := systest.Need(t, "logrotate")
	const documented = "/var/log/preforkd.log"
	var rules string
	for _, d := range documents(t) {
		for _, b := range d.blocks {
			if b.language == "logrotate" {
				rules = b.text
			}
		}
	}
	if !strings.HasPrefix(rules, documented+" {\n") {
		t.Fatalf("no document says how to rotate %s: %q", documented, rules)
	}
	dir := systest.Dir(t)
	if err := os.Chmod(dir, 0o755); err != nil { // logrotate trusts no directory that others can write
		t.Fatal(err)
	}
	file, config, state := filepath.Join(dir, "preforkd.log"), filepath.Join(dir, "logrotate.conf"), filepath.Join(dir, "state")
	rules = strings.Replace(rules, documented, `"`+file+`"`, 1)
	if err := os.WriteFile(config, []byte(rules), 0o644); err != nil {
		t.Fatal(err)
	}
	m := systest.Options{
		Control: true, Quiet: true, Args: []string{"--listen", "unix:" + filepath.Join(dir, "s"), "--", "/bin/cat"},
		Wrap: []string{"/bin/sh", "-c", `exec "$@" 2>>"` + file + `"`, "sh"},
	}.Start(t)
	events := func(path string) (found []string) {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			var e systest.Event
			if err := json.Unmarshal(line, &e); err != nil {
				t.Errorf("%s has %q", path, line)
			}
			found = append(found, e.Msg)
		}
		return found
	}
	logged := func(event string) func() bool {
		return func() bool { return slices.Contains(events(file), event) }
	}
	systest.Until(t, "listening", logged(systest.Listening), nil)
	for _, level := range []string{"debug", "info"} {
		told(t, m, "log-level", level)
		systest.Until(t, "logged", logged("log level changed"), nil)
		command(t, "", logrotate, "--force", "--state", state, config)
		if left := events(file); len(left) != 0 {
			t.Errorf("after the rotation the file has %q", left)
		}
	}
	m.Stop(t)
	first := events(file + ".1") // the younger one is not compressed yet
	if !slices.Equal(first, []string{"log level changed"}) {
		t.Errorf("the copy has %q", first)
	}
	if _, err := os.Stat(file + ".2.gz"); err != nil {
		t.Error(err)
	}
	if last := events(file); !slices.Contains(last, systest.Stopped) {
		t.Errorf("the file has %q", last)
	}
}
