package server

import (
	"fmt"
	"os"
	"path/filepath"
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
		if from := d.Package + d.Origin; (from == "") != (d.Program == "") || d.Package != "" && d.Origin != "" {
			t.Errorf("%s: a program comes from a package or from elsewhere, and what is there has a program", d.Name)
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
	if named["gcc"] != 1 || named["libc6-dev"] != 1 || named["musl-tools"] != 1 || named[""] > 0 {
		t.Errorf("named are %v", named)
	}
}

// A scenario with an echo of its own has the servers that start an echo, and
// these start that one.
func TestServersThatStartTheEchoStartTheChosenOne(t *testing.T) {
	build := &Build{dir: t.TempDir(), outside: t.TempDir(), preforkd: "/preforkd", echo: Libc}
	for _, name := range []string{"echo", "muslecho", "tmpecho", "musltmpecho"} {
		if err := os.WriteFile(filepath.Join(build.dir, name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range Table {
		site := Site{Build: build, Dir: t.TempDir(), Port: 1, Program: "/program"}
		dir := build.dir
		if d.Boxed {
			dir = build.outside // in /tmp a box would hide it
		}
		for _, echo := range []Echo{"", Musl} {
			site.Echo = echo
			path := filepath.Join(dir, map[Echo]string{"": "echo", Musl: "muslecho"}[echo])
			if d.Name == "preforkd-strict-tmp" {
				path = filepath.Join(dir, map[Echo]string{"": "tmpecho", Musl: "musltmpecho"}[echo])
			}
			var starts string
			if d.Unit != nil {
				u, err := d.Unit(site)
				starts = fmt.Sprint(u, err)
			} else {
				args, err := d.Command(site)
				if err != nil {
					t.Logf("%s: %v", d.Name, err) // apache without its modules
				}
				starts = strings.Join(args, " ")
			}
			files, _ := filepath.Glob(filepath.Join(site.Dir, "*"))
			for _, file := range files {
				content, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				starts += " " + string(content)
			}
			if got := strings.Contains(starts, path); got != d.StartsEcho {
				t.Errorf("%s with echo %q starts %s: %v, and its definition says %v", d.Name, echo, path, got, d.StartsEcho)
			}
		}
	}
}
