package server

import (
	"bytes"
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

// A Build holds the compiled programs of one run.
type Build struct {
	dir      string
	probe    string           // directory for configuration that is only tried
	problems map[string]error // by program; why one could not be built

	bare     bool   // the echo without a C library is the one to serve
	preforkd string // path, or empty
	version  string // of preforkd
}

// The names of what is built from testdata, without their endings.
var (
	cPrograms  = []string{"echo", "bareecho", "empty", "forkserver", "baselineserver", "baselinefdpass", "spawnbaseline"}
	goPrograms = []string{"barego", "gobaseline", "gopass"}
)

// Compile builds everything into dir, which the caller removes. What cannot be
// built is remembered and makes the servers that need it missing. preforkd is
// the path of a built preforkd with preforkd-worker next to it; when it is
// empty both are built from the module that the working directory is in.
//
// bare chooses the C echo that servers start: the one without a C library.
func Compile(ctx context.Context, run runner, dir, preforkd string, bare bool) (*Build, error) {
	b := &Build{dir: dir, bare: bare, probe: filepath.Join(dir, "probe"), problems: make(map[string]error)}
	if err := os.MkdirAll(b.probe, 0o755); err != nil {
		return nil, fmt.Errorf("prepare build directory: %w", err)
	}
	for _, name := range cPrograms {
		source, err := b.extract("testdata/" + name + ".c")
		if err != nil {
			return nil, err
		}
		args := []string{"gcc", "-O2", "-static", "-o", filepath.Join(dir, name)}
		if name == "bareecho" {
			args = append(args, "-nostdlib", "-ffreestanding")
		}
		b.problems[name] = b.command(ctx, run, "", append(args, source)...)
	}
	for _, name := range goPrograms {
		source, err := b.extract("testdata/" + name + "/main.go")
		if err != nil {
			return nil, err
		}
		b.problems[name] = b.command(ctx, run, filepath.Dir(source), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, name), source)
	}
	b.problems["preforkd"] = b.findPreforkd(ctx, run, preforkd)
	return b, context.Cause(ctx)
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

// Echo returns the path of the C echo that servers start.
func (b *Build) Echo() (string, error) {
	if b.bare {
		return b.Program("bareecho")
	}
	return b.Program("echo")
}

// Program returns the path of one of the benchmark's own programs.
func (b *Build) Program(name string) (string, error) {
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
