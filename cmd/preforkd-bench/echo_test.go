package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/ipc/needtest"
)

// s6Server stands in for s6-tcpserver: it takes the options that it is given
// here, and has tcpserver do the rest.
const s6Server = `#!/bin/sh
[ "$1 $2 $4 $6" = "-q -c -C -b" ] || exit 100
exec tcpserver -H -R -l localhost -c "$3" -b "$7" -- "$8" "$9" "${10}"
`

// Servers that start the echo are measured with the one that is linked with
// musl, s6-tcpserverd among them if it is installed; no other server is.
func TestMuslEcho(t *testing.T) {
	needtest.Program(t, "gcc")
	needtest.Program(t, "musl-gcc")
	needtest.Program(t, "tcpserver")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "s6-tcpserver"), []byte(s6Server), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	cmd, tmp := bench(t, "--scenarios", "musl1", "--servers", "s6-tcpserverd,baseline-c,fork-c",
		"--rounds", "1", "--duration", "50ms", "--preforkd", "/nonexistent", "--note", "s6-tcpserver is a stand-in, with tcpserver in it")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	empty(t, tmp)
	if want := "\nNote: s6-tcpserver is a stand-in, with tcpserver in it\n"; !strings.Contains(out.String(), want) {
		t.Errorf("%q is missing in\n%s", want, out.String())
	}
	_, table, _ := strings.Cut(out.String(), "\nmusl1: ")
	table, _, _ = strings.Cut(table, "\n\n")
	rows := map[string][]string{}
	for line := range strings.Lines(table) {
		if fields := strings.Fields(line); len(fields) > 1 {
			rows[fields[0]] = fields
		}
	}
	for _, name := range []string{"s6-tcpserverd", "baseline-c"} {
		if row := rows[name]; len(row) < 3 || row[1] == "-" {
			t.Errorf("%s has no latency in\n%s", name, table)
		}
	}
	if rows["fork-c"] != nil {
		t.Errorf("fork-c starts no echo, and is in\n%s", table)
	}
}

// What cannot be had is named in one line, and the rest is measured.
func TestWithoutMuslAndS6(t *testing.T) {
	needtest.Program(t, "gcc")
	dir := t.TempDir()
	for _, program := range []string{"gcc", "as", "ld", "sh"} {
		path, err := exec.LookPath(program)
		if err == nil {
			err = os.Symlink(path, filepath.Join(dir, program))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	cmd, _ := bench(t, "--scenarios", "musl1,closed1", "--servers", "s6-tcpserverd,baseline-c",
		"--rounds", "1", "--duration", "50ms", "--preforkd", "/nonexistent")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"\n  s6-tcpserverd: left out: s6-tcpserver is not installed (s6-networking of skarnet.org; Debian 12 and 13 have no package of it)\n",
		"\n  musl1: left out: musl-gcc is not installed (Debian package musl-tools)\n",
		"\n  baseline-c ",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
}
