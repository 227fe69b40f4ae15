package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/preforkd/preforkd/cmd/internal/systest"
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

// The program that is gone back to needs nothing of a configuration file that has become
// nonsense since the rehearsal. What was in force is in force.
func TestUpgradeGoesBackToTheConfigurationInForce(t *testing.T) {
	t.Parallel()
	here := install(t, versionOne)
	m, live, _ := plainMaster(t, here)
	file := filepath.Join(here.dir, "other.toml")
	text, err := os.ReadFile(m.Config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	here.replace(t, versionTwo)
	here.fault(t, fmt.Sprintf("serve hang %d", m.PID))
	broken := make(chan error, 1)
	go func() {
		for systest.Executable(m.PID) == here.preforkd()+" (deleted)" {
			time.Sleep(time.Millisecond)
		}
		broken <- os.WriteFile(file, []byte("nonsense = 1\n"), 0o644)
	}()
	refusesUpgrade(t, m, "it did not serve within", "--config", file)
	if err := <-broken; err != nil {
		t.Fatal(err)
	}
	stillServes(t, m, live)
	here.fault(t, "")
	// It reads the file again that it had.
	if r := ran(t, m, "reload"); r.Code != 0 {
		t.Errorf("exit code %d: %s", r.Code, r.Stderr)
	}
	stillServes(t, m, live)
}
