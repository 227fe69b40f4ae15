package server

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed testdata/*.c testdata/barego/main.go testdata/gobaseline/main.go testdata/gopass/main.go
var sources embed.FS

// A Build holds the compiled programs of one run. One goroutine uses it. The
// caller of Compile closes it.
type Build struct {
	dir      string
	probe    string                  // directory for configuration that is only tried
	steps    map[string]func() error // build the programs that nobody has asked for yet
	problems map[string]error        // by program; why one could not be built

	echo     Echo   // what servers start unless a site names another one
	outside  string // directory that is seen in a box, or empty
	preforkd string // path, or empty
	version  string // of preforkd
}

// An Echo is a form of the static C echo that servers start. The C library
// makes the difference: glibc prepares itself with some sixty CPUID instructions
// before main, and in a virtual machine each of them is an exit to the host.
// That can take longer than all that a server does.
type Echo string

// The echoes.
const (
	Libc Echo = "libc" // linked with the C library that gcc links with, on Debian glibc
	Musl Echo = "musl" // the same source, linked with musl
	Bare Echo = "bare" // without a C library
)

// Echoes are all of them, by the program that each is.
var Echoes = map[Echo]string{Libc: "echo", Musl: "muslecho", Bare: "bareecho"}

// A cProgram is built from a C file in testdata.
type cProgram struct {
	name, source string
	compiler     string
	flags        []string
}

// What is built from testdata.
var (
	cPrograms = []cProgram{
		{"echo", "echo", "gcc", nil},
		{"muslecho", "echo", "musl-gcc", nil},
		{"tmpecho", "echo", "gcc", []string{"-DWRITE_TMP"}},
		{"musltmpecho", "echo", "musl-gcc", []string{"-DWRITE_TMP"}},
		{"bareecho", "bareecho", "gcc", []string{"-nostdlib", "-ffreestanding"}},
		{"empty", "empty", "gcc", nil},
		{"muslempty", "empty", "musl-gcc", nil},
		{"bareempty", "bareempty", "gcc", []string{"-nostdlib", "-ffreestanding"}},
		{"primitives", "primitives", "gcc", nil},
		{"forkserver", "forkserver", "gcc", nil},
		{"baselineserver", "baselineserver", "gcc", nil},
		{"baselinefdpass", "baselinefdpass", "gcc", nil},
		{"spawnbaseline", "spawnbaseline", "gcc", nil},
		{"refuseserver", "refuseserver", "gcc", nil},
	}
	goPrograms = []string{"barego", "gobaseline", "gopass"}
)

// compilerPackages are the Debian packages of the compilers, and what they need.
var compilerPackages = map[string][]string{"gcc": {"gcc", "libc6-dev"}, "musl-gcc": {"musl-tools"}}

// Compile builds into dir, which the caller removes: preforkd at once, each other
// program when it is asked for first, while ctx lasts. What cannot be built is
// remembered and makes the servers that need it missing. preforkd is
// the path of a built preforkd with preforkd-worker next to it; when it is
// empty both are built from the module that the working directory is in.
//
// echo is the C echo that servers start.
func Compile(ctx context.Context, run runner, dir, preforkd string, echo Echo) (*Build, error) {
	b := &Build{dir: dir, echo: echo, probe: filepath.Join(dir, "probe"), steps: make(map[string]func() error), problems: make(map[string]error)}
	if err := os.MkdirAll(b.probe, 0o755); err != nil {
		return nil, fmt.Errorf("prepare build directory: %w", err)
	}
	for _, p := range cPrograms {
		b.steps[p.name] = func() error { return b.compile(ctx, run, p) }
	}
	for _, name := range goPrograms {
		b.steps[name] = func() error {
			source, err := b.extract("testdata/" + name + "/main.go")
			if err != nil {
				return err
			}
			return b.command(ctx, run, filepath.Dir(source), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, name), source)
		}
	}
	b.problems["preforkd"] = b.findPreforkd(ctx, run, preforkd)
	return b, context.Cause(ctx)
}

// compile builds a C program.
func (b *Build) compile(ctx context.Context, run runner, p cProgram) error {
	source, err := b.extract("testdata/" + p.source + ".c")
	if err != nil {
		return err
	}
	if _, err := exec.LookPath(p.compiler); err != nil {
		return fmt.Errorf("%s is not installed (Debian package %s)", p.compiler, strings.Join(compilerPackages[p.compiler], " "))
	}
	args := append([]string{p.compiler, "-O2", "-static", "-o", filepath.Join(b.dir, p.name)}, p.flags...)
	return b.command(ctx, run, "", append(args, source)...)
}

// Preforkd returns the path of the preforkd that was named, or of one that is
// built into dir, as Compile does, without the benchmark's own programs.
func Preforkd(ctx context.Context, run runner, dir, path string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("prepare build directory: %w", err)
	}
	b := &Build{dir: dir}
	err := b.findPreforkd(ctx, run, path)
	return b.preforkd, err
}

// extract writes one embedded file to a directory of its own.
func (b *Build) extract(name string) (string, error) {
	content, err := sources.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("extract source: %w", err)
	}
	path := filepath.Join(b.dir, "src", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("extract source: %w", err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		return "", fmt.Errorf("extract source: %w", err)
	}
	return path, nil
}

// findPreforkd checks the preforkd that was named, or builds one the way it is
// released.
func (b *Build) findPreforkd(ctx context.Context, run runner, path string) error {
	if path == "" {
		for _, name := range []string{"preforkd", "preforkd-worker"} {
			err := b.command(ctx, run, "", "go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(b.dir, name), modulePath+"/cmd/"+name)
			if err != nil {
				return err
			}
		}
		path = filepath.Join(b.dir, "preforkd")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if err := b.command(ctx, run, "", path, "serve", "--help"); err != nil {
		return err
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, path, "version")
	cmd.Stdout = &out
	if err := run.Run(cmd); err != nil {
		return fmt.Errorf("%s version: %w", path, err)
	}
	b.preforkd, b.version = path, strings.TrimPrefix(strings.TrimSpace(out.String()), "preforkd ")
	return nil
}

const modulePath = "github.com/preforkd/preforkd"

// Echo returns the path of a C echo. The empty one is what servers start unless
// a scenario chooses another.
func (b *Build) Echo(e Echo) (string, error) { return b.Program(Echoes[cmp.Or(e, b.echo)]) }

// tmpEcho returns the path of the C echo that leaves a file in /tmp.
func (b *Build) tmpEcho(e Echo) (string, error) {
	switch e = cmp.Or(e, b.echo); e {
	case Libc:
		return b.Program("tmpecho")
	case Musl:
		return b.Program("musltmpecho")
	}
	return "", fmt.Errorf("the echo %s has no form that writes to /tmp", e)
}

// Version returns the version of preforkd, or nothing when there is none.
func (b *Build) Version() string { return b.version }

// Program returns the path of one of the benchmark's own programs.
func (b *Build) Program(name string) (string, error) {
	if step := b.steps[name]; step != nil {
		delete(b.steps, name)
		b.problems[name] = step()
	}
	if err := b.problems[name]; err != nil {
		return "", err
	}
	return filepath.Join(b.dir, name), nil
}

// Preforkd returns the path of preforkd.
func (b *Build) Preforkd() (string, error) {
	return b.preforkd, b.problems["preforkd"]
}

// command runs a command to its end, in dir if that is not empty. Its error holds
// what it printed last. A compiler that is killed leaves its temporary files:
// they lie in the build's directory, which is removed.
func (b *Build) command(ctx context.Context, run runner, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "TMPDIR="+b.dir)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := run.Run(cmd); err != nil {
		words := strings.TrimSpace(out.String())
		if i := strings.LastIndexByte(words, '\n'); i >= 0 {
			words = words[i+1:]
		}
		return fmt.Errorf("%s %s: %w: %.200s", filepath.Base(args[0]), filepath.Base(args[len(args)-1]), err, words)
	}
	return nil
}
