package rig

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/preforkd/preforkd/ipc/needtest"
)

const modulePath = "github.com/preforkd/preforkd"

// built is where the binaries are, once they are needed:
//
//	bin/preforkd          with the race detector and coverage
//	bin/preforkd-worker   plain, beside the master, where it is looked for
//	race/preforkd-worker  with the race detector and coverage
//	cover/                the coverage data, unless PREFORKD_COVERDIR is set
//
// The worker that a master finds by itself is plain for two reasons. The race
// detector holds every process for a second at its exit unless GORACE says
// otherwise, and coverage complains on stderr unless GOCOVERDIR is set; the
// environment of a worker, which is part of the contract, has neither. See
// Instrumented for the other one.
var built struct {
	once sync.Once
	dir  string
	race bool
	err  error
}

func build() {
	built.once.Do(func() { built.err = buildAll() })
}

func buildAll() (err error) {
	if built.dir, err = os.MkdirTemp("", "preforkd-rig-"); err != nil {
		return err
	}
	// Masters run as other users too, and write their coverage here.
	if err := os.Chmod(built.dir, 0o755); err != nil {
		return err
	}
	cover := filepath.Join(built.dir, "cover")
	if err := os.Mkdir(cover, 0o777); err != nil {
		return err
	}
	if err := os.Chmod(cover, 0o777); err != nil {
		return err
	}
	coverpkg := "-coverpkg=" + modulePath + "/..."
	instrumented := []string{"-race", "-cover", coverpkg}
	built.race = true
	if err := goBuild("bin/preforkd", "cmd/preforkd", instrumented...); err != nil {
		if needtest.Forbidden() {
			return err
		}
		// The race detector needs cgo and a C compiler. A program that does
		// not compile fails again.
		built.race, instrumented = false, instrumented[1:]
		if err := goBuild("bin/preforkd", "cmd/preforkd", instrumented...); err != nil {
			return err
		}
	}
	if err := goBuild("race/preforkd-worker", "cmd/preforkd-worker", instrumented...); err != nil {
		return err
	}
	return goBuild("bin/preforkd-worker", "cmd/preforkd-worker")
}

func goBuild(out, dir string, flags ...string) error {
	args := append([]string{"build", "-o", filepath.Join(built.dir, out)}, flags...)
	cmd := exec.Command("go", append(args, modulePath+"/"+dir)...)
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
func Preforkd(t testing.TB) string {
	t.Helper()
	mustBuild(t)
	return filepath.Join(built.dir, "bin", "preforkd")
}

// PreforkdWorker returns the path of the plain worker binary.
func PreforkdWorker(t testing.TB) string {
	t.Helper()
	mustBuild(t)
	return filepath.Join(built.dir, "bin", "preforkd-worker")
}

// programs are the programs that Program has built, by their directories.
var programs struct {
	sync.Mutex
	paths map[string]string
}

// Program builds a program of this module, as small as it can be, and returns
// its path. dir is its directory in the module. It is for workers that there
// are many of, which a helper, as large as the test, is not.
func Program(t testing.TB, dir string) string {
	t.Helper()
	mustBuild(t)
	programs.Lock()
	defer programs.Unlock()
	if path, ok := programs.paths[dir]; ok {
		return path
	}
	out := filepath.Join("programs", filepath.Base(dir))
	if err := goBuild(out, dir); err != nil {
		t.Fatal(err)
	}
	if programs.paths == nil {
		programs.paths = map[string]string{}
	}
	programs.paths[dir] = filepath.Join(built.dir, out)
	return programs.paths[dir]
}

// Instrumented returns the flags of serve that make it use the worker with the
// race detector and coverage. Its workers see two variables more than the
// contract allows.
func Instrumented(t testing.TB) []string {
	t.Helper()
	mustBuild(t)
	return []string{
		"--worker-binary", filepath.Join(built.dir, "race", "preforkd-worker"),
		"--wrap", "env GORACE=atexit_sleep_ms=0 GOCOVERDIR=" + coverDir(),
	}
}

func coverDir() string {
	if dir := os.Getenv("PREFORKD_COVERDIR"); dir != "" {
		return dir
	}
	return filepath.Join(built.dir, "cover")
}

// Dir returns a new directory that every user can enter, unlike t.TempDir, and
// whose path is short enough for a unix socket. It is removed after the test.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rig-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
