package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

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

// A program that has put its configuration in force, and does not get to serve, leaves no
// file behind, and those that were there are as they were.
func TestUpgradeGoesBackWithFiles(t *testing.T) {
	t.Parallel()
	here, dir := install(t, versionOne), systest.Dir(t)
	kept, added, control := filepath.Join(dir, "kept"), filepath.Join(dir, "added"), filepath.Join(dir, "control")
	config := func(mode string, more string) string {
		return fmt.Sprintf("[service.one]\nlisten = [\"127.0.0.1:0\", \"unix:%s\"]\nsocket-mode = %q\n%s\n", kept, mode, catting) + more
	}
	m := systest.Options{Program: here.preforkd(), Config: config("0640", "")}.Start(t)
	live := m.Dial(t)
	live.Echo(t, "hello")
	modes := func(want string, paths ...string) {
		t.Helper()
		for _, path := range paths {
			got := "none"
			if info, err := os.Lstat(path); err == nil {
				got = fmt.Sprintf("%04o", info.Mode().Perm())
			} else if !os.IsNotExist(err) {
				t.Fatal(err)
			}
			if got != want {
				t.Errorf("%s has the mode %s, want %s", path, got, want)
			}
		}
	}
	modes("0640", kept)
	here.replace(t, versionTwo)
	other := filepath.Join(dir, "other.toml")
	text := config("0604", fmt.Sprintf("[service.two]\nlisten = [\"unix:%s\"]\nsocket-mode = \"0604\"\n%s\n[master]\ncontrol = %q\n", added, catting, control))
	if err := os.WriteFile(other, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"error", "panic"} {
		here.fault(t, fmt.Sprintf("serve %s %d", kind, m.PID))
		refusesUpgrade(t, m, "a fault at serve", "--config", other)
		modes("0640", kept)
		modes("none", added, control)
		live.Echo(t, "still here")
	}
	here.fault(t, "")
	if o := upgradeMaster(t, m, "--config", other); o.result.Code != 0 {
		t.Fatalf("%+v", o)
	}
	modes("0604", kept, added)
	live.Echo(t, "still here")
	live.CloseWrite(t)
	live.ExpectEnd(t)
	live.End(t)
	m.Baseline(t) // with the sockets of the other configuration
}
