package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// busyboxRoot makes a small root: busybox, a shell, the libraries that it needs, and
// these directories.
func busyboxRoot(t *testing.T, dirs ...string) string {
	t.Helper()
	busybox := systest.Need(t, "busybox")
	root := visibleDir(t)
	for _, dir := range append([]string{"bin"}, dirs...) {
		must(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	for _, name := range []string{"busybox", "sh"} {
		systest.CopyProgram(t, busybox, filepath.Join(root, "bin", name))
	}
	// ldd(1) fails for a program that needs no libraries.
	libraries, _ := tried(t, "", "ldd", busybox)
	for _, path := range regexp.MustCompile(`/[^ ]+`).FindAllString(libraries, -1) {
		must(t, os.MkdirAll(filepath.Join(root, filepath.Dir(path)), 0o755))
		systest.CopyProgram(t, path, filepath.Join(root, path))
	}
	return root
}

// appRoot is a busyboxRoot with a program that is nowhere on the machine. It says where
// it is, and sends back what it gets.
func appRoot(t *testing.T) string {
	t.Helper()
	root := busyboxRoot(t, "app", "dev", "proc", "tmp", "usr/local")
	systest.WriteProgram(t, filepath.Join(root, "app/run"), "#!/bin/sh\necho \"$0 in $(pwd)\"\nexec busybox cat\n")
	must(t, os.Symlink("/app/run", filepath.Join(root, "usr/local/app"))) // leads elsewhere on the machine
	must(t, os.Symlink("/usr/bin/env", filepath.Join(root, "app/outside")))
	systest.WriteProgram(t, filepath.Join(root, "app/bash"), "#!/bin/bash\nexec cat\n")
	return root
}

// Programs, interpreters and directories are those of the root of the box: at check, at
// the start, at a reload, and for spares.
func TestBoxRootDirectory(t *testing.T) {
	t.Parallel()
	needBoxes(t)
	root := appRoot(t)
	worker := filepath.Join(root, "preforkd-worker")
	systest.CopyProgram(t, systest.PreforkdWorker(t), worker)
	of := func(lines ...string) string {
		return single(append(lines, "[service.one.box]", `preset = "strict"`, fmt.Sprintf("root-directory = %q", root))...)
	}
	serves := func(m *systest.Master, want string) {
		t.Helper()
		c := m.Dial(t)
		c.Send(t, "hello\n")
		c.CloseWrite(t)
		if got := c.ExpectEnd(t); got != want+"\nhello\n" {
			t.Errorf("got %q, want %q\n%s", got, want, m.Log())
		}
		c.End(t)
	}
	text := of(`program = ["/app/run"]`, `directory = "/app"`)
	config := filepath.Join(systest.Dir(t), "preforkd.toml")
	must(t, os.WriteFile(config, []byte(text), 0o644))
	if r := systest.Run(t, "check", "--config", config); r.Code != exitOK {
		t.Errorf("check: %+v", r)
	}
	m := systest.Options{Config: text, Listeners: 1}.Start(t)
	m.Boxed = true
	serves(m, "/app/run in /app")
	for program, want := range map[string]string{
		`program = ["/usr/local/app"]`:                                      "/usr/local/app in /", // over a link to an absolute path
		`program = ["busybox", "sh", "-c", "echo found; exec busybox cat"]`: "found",
	} {
		if e := m.Reload(t, of(program)); e.Msg != systest.Reloaded {
			t.Fatalf("%s: %s", program, e.Line)
		}
		serves(m, want)
	}
	// A built-in handler is passed into the box.
	if e := m.Reload(t, of(`handler = "echo"`)); e.Msg != systest.Reloaded {
		t.Fatal(e.Line)
	}
	c := m.Dial(t)
	c.Echo(t, "hello\n")
	c.Close()
	c.End(t)
	// The machine has env, and bash, and the root has neither.
	for _, c := range []struct{ lines, want string }{
		{`program = ["/usr/bin/env"]`, `3:12: service.one: program "/usr/bin/env": no such file or directory`},
		{`program = ["/app/outside"]`, `3:12: service.one: program "/app/outside": no such file or directory`},
		{`program = ["/app/bash"]`, `3:12: service.one: program "/app/bash": its interpreter "/bin/bash": no such file or directory`},
		{`program = ["./app/run"]`, `3:12: service.one: program "./app/run": must be an absolute path, or a name to be found in PATH`},
		{`program = ["env"]`, `3:12: service.one: program "env": file does not exist in PATH`},
		{`program = ["/app"]`, `3:12: service.one: program "/app": is a directory`},
		{"program = [\"/app/run\"]\n" + `directory = "/usr/bin"`, `4:13: service.one: directory "/usr/bin": no such file or directory`},
		{"program = [\"/app/run\"]\n" + `directory = "/app/run"`, `4:13: service.one: directory "/app/run": is not a directory`},
		{"program = [\"/app/run\"]\nspares = 1", `3:12: service.one: worker binary`},
		{"program = [\"/app/run\"]\n[[service.one.rule]]\nfrom = [\"127.0.0.1\"]\nprogram = [\"/app/bash\"]", `6:12: service.one: rule 1: program "/app/bash": its interpreter "/bin/bash": no such file or directory`},
	} {
		must(t, os.WriteFile(config, []byte(of(c.lines)), 0o644))
		for _, command := range []string{"check", "serve"} {
			r := systest.Run(t, command, "--config", config)
			if r.Code != exitUsage || strings.Count(r.Stderr, "\n") != 1 || !strings.Contains(r.Stderr, config+":"+c.want) || !strings.Contains(r.Stderr, " (in root-directory "+root+")") {
				t.Errorf("%s %s: %+v", command, c.lines, r)
			}
		}
		if e := m.Reload(t, of(c.lines)); e.Msg == systest.Reloaded || !strings.Contains(e.Error, c.want[strings.Index(c.want, " "):]) {
			t.Errorf("a reload with %s: %s", c.lines, e.Line)
		}
	}
	m.StopSignal = syscall.SIGQUIT // its descriptors are not what they were at the start
}

// What is in the box only once its mounts are made is found, too, and what they cover is
// not.
func TestBoxRootDirectoryMounts(t *testing.T) {
	t.Parallel()
	needBoxes(t)
	root, tools := appRoot(t), visibleDir(t)
	systest.WriteProgram(t, filepath.Join(tools, "run"), "#!/bin/sh\necho \"$0 in $(pwd)\"\n")
	of := func(program string) string {
		return single(program, `directory = "/usr/local/new"`, "[service.one.box]", `preset = "strict"`, fmt.Sprintf("root-directory = %q", root),
			`temporary-file-system = ["/usr/local"]`, fmt.Sprintf(`bind-paths = ["%[1]s:/usr/local/new/tools:ro", "-%[1]s/none:/app/none"]`, tools))
	}
	m := systest.Options{Config: of(`program = ["/usr/local/new/tools/run"]`), Listeners: 1}.Start(t)
	m.Boxed = true
	if got, want := m.Dial(t).ExpectEnd(t), "/usr/local/new/tools/run in /usr/local/new\n"; got != want {
		t.Errorf("got %q, want %q\n%s", got, want, m.Log())
	}
	if e := m.Reload(t, of(`program = ["/usr/local/app"]`)); e.Msg == systest.Reloaded || !strings.Contains(e.Error, `program "/usr/local/app": no such file or directory (in root-directory `) {
		t.Errorf("%s", e.Line)
	}
	m.StopSignal = syscall.SIGQUIT // its descriptors are not what they were at the start
}

// A spare finds its program in the root. What goes missing later is named as it is
// missing there, although the machine has it.
func TestBoxRootDirectorySpares(t *testing.T) {
	t.Parallel()
	needBoxes(t)
	root := appRoot(t)
	worker := filepath.Join(visibleDir(t), "preforkd-worker")
	systest.CopyProgram(t, systest.PreforkdWorker(t), worker)
	must(t, os.MkdirAll(filepath.Join(root, filepath.Dir(worker)), 0o755))
	systest.CopyProgram(t, worker, filepath.Join(root, worker))
	for _, spares := range []int{0, 1} {
		text := single(`program = ["/app/run"]`, fmt.Sprintf("spares = %d", spares), "[service.one.box]", `preset = "strict"`, fmt.Sprintf("root-directory = %q", root))
		m := systest.Options{Config: text, Listeners: 1, Args: []string{"--worker-binary", worker}}.Start(t)
		m.Boxed, m.Spares = true, spares
		c := m.Dial(t)
		c.Send(t, "hello\n")
		c.CloseWrite(t)
		if got := c.ExpectEnd(t); got != "/app/run in /\nhello\n" {
			t.Errorf("got %q", got)
		}
		c.End(t)
		systest.WriteProgram(t, filepath.Join(root, "app/run"), "#!/bin/bash\n")
		m.Dial(t).ExpectGone(t)
		e := m.WaitFor(t, systest.Is(systest.SpawnFailed))
		if want := `start /app/run: its interpreter "/bin/bash": no such file or directory`; e.Error != want {
			t.Errorf("%d spares: %s, want %s", spares, e.Line, want)
		}
		m.StopSignal = syscall.SIGQUIT
		m.Stop(t)
		systest.WriteProgram(t, filepath.Join(root, "app/run"), "#!/bin/sh\necho \"$0 in $(pwd)\"\nexec busybox cat\n")
	}
}

// check finds what the mounts of a box would fail for, with its place, and does so
// without any rights.
func TestBoxPathsAreChecked(t *testing.T) {
	t.Parallel()
	dir := systest.Dir(t)
	must(t, os.Chmod(dir, 0o755))
	must(t, os.Symlink("/no/such/target", filepath.Join(dir, "dead")))
	must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o644))
	config := filepath.Join(dir, "preforkd.toml")
	text := single(catting, "[service.one.box]", fmt.Sprintf(`read-only-paths = ["/etc", "%[1]s/dead", "-%[1]s/missing"]
bind-paths = ["/no/source:/mnt", "-/no/source:%[1]s", "%[1]s/file:/srv"]
protect-home = true
read-write-paths = ["/etc/passwd", "/home/somebody"]
`, dir))
	must(t, os.WriteFile(config, []byte(text), 0o644))
	want := strings.NewReplacer("F:", config+":", "DIR", dir).Replace(`F:5:28: service.one: box: read-only-paths "DIR/dead": is a link to /no/such/target: no such file or directory
F:6:15: service.one: box: bind-paths "/no/source:/mnt": source: no such file or directory
F:6:CC: service.one: box: bind-paths "DIR/file:/srv": /srv and its source must both be directories, or neither
F:8:36: service.one: box: read-write-paths "/home/somebody": is within /home, which protect-home hides
`)
	want = strings.Replace(want, "CC", fmt.Sprint(len(`bind-paths = ["/no/source:/mnt", "-/no/source:`+dir+`", `)+1), 1)
	for _, o := range []systest.Options{{}, {Wrap: withoutAdmin(t)}} {
		if r := o.Run(t, "check", "--config", config); r.Code != exitUsage || r.Stderr != want {
			t.Errorf("%+v\nwant %s", r, want)
		}
	}
}
