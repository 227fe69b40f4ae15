package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// A worker that speaks another version of the contract, because its binary was
// replaced under a running master, is said to do so, whether it is spawned for
// its connection or ahead of it; and the right binary serves again.
func TestOtherVersion(t *testing.T) {
	t.Parallel()
	path := filepath.Join(systest.Dir(t), "worker")
	right := systest.Program(t, "cmd/internal/systest/badworker")
	replace := func(text string) {
		t.Helper()
		systest.WriteProgram(t, path+".new", text)
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	replace("#!/bin/sh\nexec " + right + " -\n")
	for _, spares := range []string{"0", "2"} {
		m := systest.Start(t, "--spares", spares, "--handoff", "worker", "--", path)
		c := dialSpare(t, m)
		c.Echo(t, "hello\n")
		replace("#!/bin/sh\nexec " + right + " - version line exit:105\n")
		if spares == "0" {
			other := m.Dial(t)
			other.Echo(t, "hello\n")
			end := other.End(t)
			if !strings.Contains(end.Error, "other protocol version: 2, this side speaks 1") || end.Code() != 105 || end.Reason != "other contract version" {
				t.Errorf("unexpected end: %s", end.Line)
			}
		} else {
			for range 3 {
				m.Dial(t).Echo(t, "hello\n") // by spares of the right version, and then by no spare
			}
			said := m.WaitFor(t, systest.Is(systest.Broken))
			if !strings.Contains(said.Error, "other protocol version: 2, this side speaks 1") {
				t.Errorf("unexpected complaint: %s", said.Line)
			}
		}
		replace("#!/bin/sh\nexec " + right + " -\n")
		c.Echo(t, "still here\n")
		c.Close()
		last := dialSpare(t, m)
		last.Echo(t, "hello\n")
		last.Close()
	}
}
