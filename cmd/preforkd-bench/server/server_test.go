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

func TestPackagesAreNamedOnce(t *testing.T) {
	seen := make(map[string]bool)
	for _, name := range Packages() {
		if seen[name] || name == "" {
			t.Errorf("package %q", name)
		}
		seen[name] = true
	}
	for _, name := range []string{"gcc", "libc6-dev", "ucspi-tcp", "socat", "ncat", "xinetd", "systemd", "systemd-container", "apache2-bin"} {
		if !seen[name] {
			t.Errorf("package %s is missing", name)
		}
	}
}
