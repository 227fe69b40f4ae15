package main

import (
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// The load by itself: reloads in the place of upgrades. What the test of upgrades finds
// is then theirs.
func TestLoadOfUpgrades(t *testing.T) {
	t.Parallel()
	l := newLoad(t, install(t, versionOne))
	l.start()
	for round := range 3 {
		l.more(5)
		if e := l.m.Reload(t, l.config(500+round)); e.Msg != systest.Reloaded {
			t.Fatal(e.Line)
		}
	}
	l.more(5)
	l.finish()
}
