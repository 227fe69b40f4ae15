package systest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/preforkd/preforkd/ipc/needtest"
)

const modulePath = "github.com/preforkd/preforkd"

// EnvBinaries names the variable with the directory that BuildAll has filled.
// `make test` builds once for all packages. Without the variable each package
// builds for itself, once per test process.
const EnvBinaries = "PREFORKD_TESTBIN"

// built is where the binaries are, once they are needed; see BuildAll.
var built struct {
	once sync.Once
	dir  string
	own  string // what this process made and removes: dir or the coverage data
	err  error
}

func build() {
	built.once.Do(func() { built.err = prepare() })
}

// prepare finds the binaries, or builds them, and makes room for coverage data.
func prepare() (err error) {
	// Masters run as other users too, and write their coverage here.
	if built.own, err = os.MkdirTemp("", "preforkd-systest-"); err != nil {
		return err
	}
	cover := filepath.Join(built.own, "cover")
	if err := errors.Join(os.Mkdir(cover, 0o777), os.Chmod(cover, 0o777), os.Chmod(built.own, 0o755)); err != nil {
		return err
	}
	if built.dir = os.Getenv(EnvBinaries); built.dir != "" {
		return nil
	}
	built.dir = built.own
	return BuildAll(built.dir)
}

// smallPrograms are the programs that Program knows, by their directories.
var smallPrograms = []string{"cmd/internal/systest/testworker", "cmd/internal/systest/badworker", "cmd/internal/systest/boxprobe", "cmd/internal/systest/badsuccessor"}

// BuildAll builds into a directory all that tests run:
//
//	bin/preforkd          with the race detector and coverage
//	bin/preforkd-worker   as it is shipped, beside the master, where it is looked for
//	race/preforkd-worker  with the race detector and coverage
//	static/preforkd       as it is shipped
//	upgrade/VERSION/      both for upgrades in place, see Versioned
//	programs/             small programs, most of them workers, see Program
//
// The worker that a master finds by itself is plain for two reasons. The race
// detector holds every process for a second at its exit unless GORACE says
// otherwise, and coverage complains on stderr unless GOCOVERDIR is set; the
// environment of a worker, which is part of the contract, has neither. See
// Instrumented for the other one.
func BuildAll(dir string) error {
	instrumented := []string{"-race", "-cover", "-coverpkg=" + modulePath + "/..."}
	if err := goBuild(dir, "bin/preforkd", "cmd/preforkd", instrumented...); err != nil {
		if needtest.Forbidden() {
			return err
		}
		// The race detector needs cgo and a C compiler. A program that does
		// not compile fails again.
		instrumented = instrumented[1:]
		if err := goBuild(dir, "bin/preforkd", "cmd/preforkd", instrumented...); err != nil {
			return err
		}
	}
	if err := goBuild(dir, "race/preforkd-worker", "cmd/preforkd-worker", instrumented...); err != nil {
		return err
	}
	for out, source := range map[string]string{"bin/preforkd-worker": "cmd/preforkd-worker", "static/preforkd": "cmd/preforkd"} {
		if err := goBuild(dir, out, source, "-trimpath"); err != nil {
			return err
		}
	}
	for _, version := range Versions {
		for _, source := range []string{"cmd/preforkd", "cmd/preforkd-worker"} {
			out := filepath.Join("upgrade", version, filepath.Base(source))
			if err := goBuild(dir, out, source, "-trimpath", "-tags", "upgradefault", "-ldflags", "-X "+modulePath+"/ipc.Version="+version); err != nil {
				return err
			}
		}
	}
	for _, source := range smallPrograms {
		if err := goBuild(dir, filepath.Join("programs", filepath.Base(source)), source); err != nil {
			return err
		}
	}
	return nil
}

// goBuild builds a program of this module. Only the race detector needs cgo.
func goBuild(dir, out, source string, flags ...string) error {
	args := append([]string{"build", "-buildvcs=false", "-o", filepath.Join(dir, out)}, flags...)
	cmd := exec.Command("go", append(args, modulePath+"/"+source)...)
	if !slices.Contains(flags, "-race") {
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	}
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", cmd.Args, err, output)
	}
	return nil
}

func mustBuild(t testing.TB) {
	t.Helper()
	if build(); built.err != nil {
		t.Fatal(built.err)
	}
}

// Preforkd returns the path of the preforkd binary.
func Preforkd(t testing.TB) string { return binary(t, "bin", "preforkd") }

// PreforkdWorker returns the path of the worker binary as it is shipped.
func PreforkdWorker(t testing.TB) string { return binary(t, "bin", "preforkd-worker") }

// Shipped returns the path of the preforkd binary as it is shipped.
func Shipped(t testing.TB) string { return binary(t, "static", "preforkd") }

// Versions are those of the programs that Versioned knows.
var Versions = []string{"one", "two"}

// Versioned returns the directory with preforkd and preforkd-worker of a version. They
// are as they are shipped, but that an upgrade can be made to fail, see package fault of
// master/upgrade, and that they can have other formats of the state, see choose there.
// They differ in nothing but the version.
func Versioned(t testing.TB, version string) string {
	t.Helper()
	return filepath.Dir(binary(t, filepath.Join("upgrade", version), "preforkd"))
}

// ShippedWorker returns the path of the worker binary as it is shipped. It is
// for a TestMain that needs no other binary. remove deletes what was built.
func ShippedWorker() (path string, remove func(), err error) {
	if dir := os.Getenv(EnvBinaries); dir != "" {
		return filepath.Join(dir, "bin", "preforkd-worker"), func() {}, nil
	}
	dir, err := os.MkdirTemp("", "preforkd-worker-")
	if err != nil {
		return "", nil, err
	}
	path, remove = filepath.Join(dir, "preforkd-worker"), func() { os.RemoveAll(dir) }
	if err := goBuild(dir, "preforkd-worker", "cmd/preforkd-worker", "-trimpath"); err != nil {
		remove()
		return "", nil, err
	}
	return path, remove, nil
}

// Program returns the path of a small program of this module. dir is its
// directory in the module. It is for workers that there are many of, which a
// helper, as large as the test, is not.
func Program(t testing.TB, dir string) string {
	t.Helper()
	if !slices.Contains(smallPrograms, dir) {
		t.Fatalf("%s is not among the programs that are built", dir)
	}
	return binary(t, "programs", filepath.Base(dir))
}

func binary(t testing.TB, dir, name string) string {
	t.Helper()
	mustBuild(t)
	path := filepath.Join(built.dir, dir, name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s: %v", EnvBinaries, err)
	}
	return path
}

// Instrumented returns the flags of serve that make it use the worker with the
// race detector and coverage. Its workers see two variables more than the
// contract allows.
func Instrumented(t testing.TB) []string {
	t.Helper()
	return []string{
		"--worker-binary", binary(t, "race", "preforkd-worker"),
		"--wrap", "env GORACE=atexit_sleep_ms=0 GOCOVERDIR=" + coverDir(),
	}
}

func coverDir() string {
	if dir := os.Getenv("PREFORKD_COVERDIR"); dir != "" {
		return dir
	}
	return filepath.Join(built.own, "cover")
}

// Dir returns a new directory that every user can enter, unlike t.TempDir, and
// whose path is short enough for a unix socket. It is removed after the test.
func Dir(t testing.TB) string {
	t.Helper()
	return DirIn(t, "")
}

// DirIn is Dir in another directory than that for temporary files.
func DirIn(t testing.TB, parent string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "systest-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
