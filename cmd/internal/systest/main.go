package systest

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/preforkd/preforkd/master/process"
)

// helperArg is the first argument of a test binary that runs as a helper. An
// argument rather than a variable: programs started by a master see none of
// the test's environment.
const helperArg = "systest-helper"

var helpers = struct {
	sync.Mutex
	run  map[string]func(args []string) int
	used map[string]bool
}{run: map[string]func([]string) int{}, used: map[string]bool{}}

// Register names a function that this test binary runs, in a process of its
// own, when it is started with Helper's command line. It is for init functions;
// what the function returns is the exit code.
func Register(name string, run func(args []string) int) { helpers.run[name] = run }

// Helper returns the command line that runs a registered function. It is not
// for the many processes of a mass test: the helper is as large as the test.
func Helper(name string, args ...string) []string {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	if helpers.run[name] == nil {
		panic("no helper is registered as " + name)
	}
	helpers.Lock()
	helpers.used[name] = true
	helpers.Unlock()
	return append([]string{self, helperArg, name}, args...)
}

// Main is the TestMain of a package that uses this one: it runs the helper that
// the command line asks for, or else the tests, and cleans up after them. It
// does not return.
func Main(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == helperArg {
		run := helpers.run[os.Args[2]]
		if run == nil {
			fmt.Fprintf(os.Stderr, "no helper is registered as %q\n", os.Args[2])
			os.Exit(2)
		}
		os.Exit(run(os.Args[3:]))
	}
	// What the tests start finds every signal at its default, under nohup, too.
	if err := process.ResetSignals(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// Most tests wait most of the time.
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		flag.Set("test.parallel", strconv.Itoa(max(6, runtime.GOMAXPROCS(0))))
	}
	code := m.Run()
	if code == 0 && unusedHelper() {
		code = 1
	}
	if built.own != "" {
		os.RemoveAll(built.own)
	}
	os.Exit(code)
}

// unusedHelper reports a helper that a complete run never started: dead code,
// or a test that no longer tests what its name says.
func unusedHelper() bool {
	for _, name := range []string{"test.run", "test.skip", "test.list", "test.bench", "test.fuzz"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			return false
		}
	}
	if testing.Short() || skipped.Load() {
		return false
	}
	unused := false
	for _, name := range slices.Sorted(maps.Keys(helpers.run)) {
		if !helpers.used[name] {
			fmt.Fprintf(os.Stderr, "helper %q was never started\n", name)
			unused = true
		}
	}
	return unused
}
