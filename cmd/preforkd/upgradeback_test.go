package main

import (
	"fmt"
	"testing"
)

// The way back is there at every step that the new program goes through, for a mistake and
// for a panic.
func TestUpgradeGoesBackFromEachStep(t *testing.T) {
	t.Parallel()
	here := install(t, versionOne)
	m, live, _ := plainMaster(t, here)
	here.replace(t, versionTwo)
	for _, step := range []string{"load", "config", "restore", "install", "serve"} {
		for _, kind := range []string{"error", "panic"} {
			here.fault(t, fmt.Sprintf("%s %s %d", step, kind, m.PID))
			refusesUpgrade(t, m, "a fault at "+step)
			stillServes(t, m, live)
		}
	}
	here.fault(t, "")
	upgradeTo(t, m, versionTwo, false)
	stillServes(t, m, live)
}
