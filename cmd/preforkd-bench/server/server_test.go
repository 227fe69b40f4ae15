package server

import (
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	seen := make(map[string]bool)
	for _, d := range Table {
		if seen[d.Name] {
			t.Errorf("%s is there twice", d.Name)
		}
		seen[d.Name] = true
		if d.About == "" || d.Class == "" || (d.Command == nil) == (d.Unit == nil) {
			t.Errorf("%s is incomplete", d.Name)
		}
		if (d.Package == "") != (d.Program == "") {
			t.Errorf("%s: a program comes from a package, and a package has a program", d.Name)
		}
	}
}

func TestSelectKeepsTheOrderOfTheTable(t *testing.T) {
	got, err := Select([]string{"socat", "tcpserver"})
	if err != nil || len(got) != 2 || got[0].Name != "tcpserver" || got[1].Name != "socat" {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := Select([]string{"socat", "nginx"}); err == nil || !strings.Contains(err.Error(), "nginx") {
		t.Errorf("error %v does not name nginx", err)
	}
}

// What --packages prints is what `make bench` installs: each package that a
// server is in, and what the benchmark's own programs need, once.
func TestPackagesOfAllServersAreNamedOnce(t *testing.T) {
	named := make(map[string]int)
	for _, name := range Packages() {
		named[name]++
	}
	for _, d := range Table {
		if d.Package != "" && named[d.Package] != 1 {
			t.Errorf("package %s of %s is named %d times", d.Package, d.Name, named[d.Package])
		}
	}
	if named["gcc"] != 1 || named["libc6-dev"] != 1 || named[""] > 0 {
		t.Errorf("named are %v", named)
	}
}
