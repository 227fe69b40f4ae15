package main

import (
	"os"
	"testing"
)

// installFormats installs a version that has only these formats of the state, see
// master/upgrade.
func (i installation) installFormats(t *testing.T, version, formats string) {
	t.Helper()
	if err := os.WriteFile(i.preforkd()+".formats", []byte(formats+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	i.replace(t, version)
}

// Versions with different formats of the state become one another if they have one in
// common. Which one they use is seen from those that have only one.
func TestUpgradeBetweenFormats(t *testing.T) {
	t.Parallel()
	// The later format is one that only programs for tests have.
	const first, later, both = "1", "1000000", "1000000 1"
	here := install(t, versionOne)
	here.installFormats(t, versionOne, first)
	m, live, _ := plainMaster(t, here)
	for _, c := range []struct {
		version, formats string
		refused          string // why
	}{
		{versionTwo, later, "it reads format 1000000 of the state, and this version writes 1"},
		{versionTwo, both, ""},
		{versionOne, later, ""},
		{versionTwo, first, "it reads format 1 of the state, and this version writes 1000000"},
		{versionTwo, both, ""},
		{versionOne, first, ""}, // as at first
		{versionTwo, first, ""},
	} {
		here.installFormats(t, c.version, c.formats)
		if c.refused == "" {
			upgradeTo(t, m, c.version, false)
		} else {
			refusesUpgrade(t, m, c.refused)
		}
		stillServes(t, m, live)
	}
	live.Close()
}
