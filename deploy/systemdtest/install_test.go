package systemdtest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What is installed, and with which modes: no test program, no benchmark.
func TestInstall(t *testing.T) {
	dir := t.TempDir()
	root, bin := filepath.Join(dir, "root"), filepath.Join(dir, "bin")
	install := func(args ...string) {
		t.Helper()
		if err := makeInstall(bin, append([]string{"DESTDIR=" + root}, args...)...); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"-rw-r--r-- /etc/preforkd/preforkd.toml",
		"-rwxr-xr-x /usr/bin/preforkd",
		"-rwxr-xr-x /usr/lib/preforkd/preforkd-worker",
		"-rw-r--r-- /usr/lib/systemd/system/preforkd.service",
		"-rw-r--r-- /usr/lib/systemd/system/preforkd.socket",
		"-rw-r--r-- /usr/lib/sysusers.d/preforkd.conf",
		"-rw-r--r-- /usr/lib/tmpfiles.d/preforkd.conf",
		"-rw-r--r-- /usr/share/bash-completion/completions/preforkd",
		"-rw-r--r-- /usr/share/doc/preforkd/LICENSE",
		"-rw-r--r-- /usr/share/doc/preforkd/README.md",
		"-rw-r--r-- /usr/share/doc/preforkd/drop-in/box.conf",
		"-rw-r--r-- /usr/share/doc/preforkd/drop-in/notify-reload.conf",
		"-rw-r--r-- /usr/share/doc/preforkd/drop-in/privileged-ports.conf",
		"-rw-r--r-- /usr/share/doc/preforkd/drop-in/upgrade.conf",
		"-rw-r--r-- /usr/share/doc/preforkd/drop-in/users.conf",
		"-rw-r--r-- /usr/share/doc/preforkd/grafana.json",
		"-rw-r--r-- /usr/share/doc/preforkd/preforkd.toml",
		"-rw-r--r-- /usr/share/fish/vendor_completions.d/preforkd.fish",
	}
	for _, page := range []string{
		"preforkd-box.1", "preforkd-chat.1", "preforkd-check.1", "preforkd-completion.1", "preforkd-connect.1", "preforkd-drain.1", "preforkd-explain.1", "preforkd-kill.1", "preforkd-learn.1",
		"preforkd-log-level.1", "preforkd-reload.1", "preforkd-resume.1", "preforkd-serve.1", "preforkd-status.1", "preforkd-top.1", "preforkd-upgrade.1", "preforkd-version.1", "preforkd.1",
	} {
		want = append(want, "-rw-r--r-- /usr/share/man/man1/"+page)
	}
	want = append(want, "-rw-r--r-- /usr/share/man/man5/preforkd.toml.5", "-rw-r--r-- /usr/share/zsh/site-functions/_preforkd")

	documents, err := os.ReadDir("../doc")
	if err != nil || len(documents) == 0 {
		t.Fatalf("documents: %v, %v", documents, err)
	}
	for _, d := range documents {
		want = append(want, "-rw-r--r-- /usr/share/doc/preforkd/"+d.Name())
	}
	examples, err := os.ReadDir("../box")
	if err != nil || len(examples) == 0 {
		t.Fatalf("examples of boxes: %v, %v", examples, err)
	}
	for _, e := range examples {
		want = append(want, "-rw-r--r-- /usr/share/doc/preforkd/box/"+e.Name())
	}
	byPath := func(a, b string) int {
		return strings.Compare(a[strings.IndexByte(a, ' '):], b[strings.IndexByte(b, ' '):])
	}
	slices.SortFunc(want, byPath)

	install("install", "prefix=/usr")
	got := files(t, root)
	slices.SortFunc(got, byPath) // with box.md before box/git.toml
	if !slices.Equal(got, want) {
		t.Errorf("installed are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	linksLead(t, root, "/usr/share/doc/preforkd")
	built, err := os.ReadDir(bin)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range built {
		names = append(names, entry.Name())
	}
	if want := []string{"man", "preforkd", "preforkd-worker"}; !slices.Equal(names, want) {
		t.Errorf("built are %q, want %q", names, want)
	}
	unit, err := os.ReadFile(filepath.Join(root, "usr/lib/systemd/system/preforkd.service"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(unit), "\nExecStart=/usr/bin/preforkd serve ") || strings.Contains(string(unit), "/usr/local") {
		t.Errorf("the unit is for another place:\n%s", unit)
	}

	// The administrator's configuration outlives an upgrade, and an end.
	config := filepath.Join(root, "etc/preforkd/preforkd.toml")
	if err := os.WriteFile(config, []byte("# mine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	// What is built already is installed without Go.
	broken := filepath.Join(dir, "broken")
	if err := os.Mkdir(broken, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(broken, "go"), []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	install("install", "prefix=/usr", "PATH="+broken+":"+os.Getenv("PATH"))
	install("uninstall", "prefix=/usr")
	if got := files(t, root); !slices.Equal(got, want[:1]) {
		t.Errorf("left are\n%s\nwant\n%s", strings.Join(got, "\n"), want[0])
	}
	if data, err := os.ReadFile(config); string(data) != "# mine\n" {
		t.Errorf("the configuration is %q, %v", data, err)
	}
	if err := os.Remove(config); err != nil {
		t.Fatal(err)
	}
	install("install", "prefix=/usr")
	install("uninstall", "prefix=/usr")
	if got := files(t, root); len(got) > 0 {
		t.Errorf("left are\n%s", strings.Join(got, "\n"))
	}
}

// linksLead checks that the links of installed documents lead to what is
// installed, or to another machine.
func linksLead(t *testing.T, root, dir string) {
	t.Helper()
	documents, err := filepath.Glob(filepath.Join(root, dir, "*.md"))
	if err != nil || len(documents) == 0 {
		t.Fatalf("documents: %q, %v", documents, err)
	}
	local := 0
	for _, document := range documents {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(string(text), -1) {
			target := m[1]
			if strings.HasPrefix(target, "https://") {
				continue
			}
			if target, _, _ = strings.Cut(target, "#"); target == "" {
				continue // a heading of the same document, see TestDocumentsLink
			}
			local++
			if !strings.HasPrefix(target, "/") {
				target = filepath.Join(dir, target)
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s links to %s: %v", filepath.Base(document), m[1], err)
			}
		}
	}
	if local < 10 {
		t.Errorf("only %d links were found", local)
	}
}

// files lists the files of a tree with their modes, in the order of their names.
func files(t *testing.T, root string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			found = append(found, info.Mode().String()+" "+strings.TrimPrefix(path, root))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
