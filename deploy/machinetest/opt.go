package machinetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// makeOpt makes the disk that is /opt inside. The file has no name. The caller closes
// it.
func makeOpt(ctx context.Context) (_ *os.File, err error) {
	dir, err := os.MkdirTemp("", "preforkd-machine-opt-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	tree, image := filepath.Join(dir, "opt"), filepath.Join(dir, "opt.img")
	// The directory for temporary files is closed to others, which /opt must not be.
	if err := os.Mkdir(tree, 0o755); err != nil {
		return nil, err
	}
	repository, err := repository(ctx)
	if err != nil {
		return nil, err
	}
	commands := []*exec.Cmd{buildTest(ctx, filepath.Join(tree, "test"), ".")}
	for _, name := range packages() {
		commands = append(commands, buildTest(ctx, filepath.Join(tree, packageTest(name)), filepath.Join(repository, name)))
	}
	// The directory for what is built is another than the usual one, which others may
	// be using. The variables of a make that runs the tests are not for this one.
	environment := slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return name == "MAKEFLAGS" || name == "MFLAGS" || name == "MAKELEVEL"
	})
	for _, args := range [][]string{
		{"BIN=" + filepath.Join(dir, "bin"), "DESTDIR=" + filepath.Join(tree, "installed"), "install"},
		{"BIN=" + filepath.Join(tree, "two"), "VERSION=two", "GOFLAGS=-tags=upgradefault", "build"},
	} {
		build := exec.CommandContext(ctx, "make", append([]string{"-C", repository}, args...)...)
		build.Env = environment
		commands = append(commands, build)
	}
	disk := exec.CommandContext(ctx, "mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", tree, image, "512M")
	for _, cmd := range append(commands, disk) {
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
		}
	}
	return os.Open(image)
}

// packages returns the directories of packages whose own tests are for the machine, too:
// they have more to say on its kernel and with its cgroups. Their test binaries are in /opt.
func packages() []string {
	names := []string{"worker/confine"}
	if !testing.Short() {
		names = append(names, "master/box/cgroup", "master/box/seccomp", "master/box/stub")
	}
	return names
}

// packageTest returns the name of the test binary of a package in /opt.
func packageTest(directory string) string { return strings.ReplaceAll(directory, "/", "-") + ".test" }

// buildTest returns what builds the test binary of a package. The machine has another C
// library than the one that cgo would link, and the race detector is too slow there.
func buildTest(ctx context.Context, binary, directory string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-buildvcs=false", "-o", binary, ".")
	cmd.Dir, cmd.Env = directory, append(os.Environ(), "CGO_ENABLED=0")
	return cmd
}

// repository returns the directory of the module whose tests these are.
func repository(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
