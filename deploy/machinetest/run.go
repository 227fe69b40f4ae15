package machinetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/preforkd/preforkd/ipc/needtest"
	"github.com/preforkd/preforkd/ipc/slowtest"
)

// EnvWanted names the variable without which no machine is booted: the tests of a
// package are also run by those who do not want to wait for one.
const EnvWanted = "PREFORKD_TEST_MACHINE"

// envInside names the variable that tells a test process where it is: agent or test.
const envInside = "PREFORKD_MACHINE_INSIDE"

const (
	agent = "agent" // the service that starts test processes
	test  = "test"  // one of these
)

// bootDeadline is how long the building of what goes into the machine and a boot may
// take, testDeadline how long one test inside. Only what is broken takes as long.
func bootDeadline() time.Duration { return slowtest.Scale(10 * time.Minute) }
func testDeadline() time.Duration { return slowtest.Scale(10 * time.Minute) }

// shared is what all tests of this process share, above all the machine, once one needs
// it.
var shared struct {
	isMain  bool // Main was called
	inside  bool // this is a test process of the machine
	once    sync.Once
	machine *machine
	err     error
}

// Main is what TestMain of a package with such tests calls. It does not return.
func Main(m *testing.M) {
	shared.isMain = true
	where := os.Getenv(envInside)
	os.Unsetenv(envInside) // what a test starts is not told
	shared.inside = where == test
	if where == agent {
		if err := serve(); err != nil {
			fmt.Fprintln(os.Stderr, "machinetest:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if shared.machine != nil {
		shared.machine.close()
	}
	os.Exit(code)
}

// Run runs the function inside the machine, where it is root and finds preforkd
// installed. A test that calls Run does nothing else, as everything around the call
// happens both outside and inside. The test is skipped where there can be no machine.
func Run(t *testing.T, inside func(t *testing.T)) {
	t.Helper()
	if shared.inside {
		inside(t)
		return
	}
	m := boot(t)
	var seen outcome
	seen.name = t.Name()
	code, err := m.run(command{Args: arguments(t.Name()), Env: passedOn()}, func(output []byte) {
		t.Output().Write(output)
		seen.read(output)
	})
	switch {
	case err != nil:
		t.Fatal(err)
	case code != 0 || seen.failed:
		t.Errorf("failed in the machine, with exit code %d", code)
	case seen.skipped:
		needtest.SkipAnywhere(t, "skipped in the machine: "+seen.reason)
	case !seen.passed:
		t.Error("the machine has no such test")
	}
}

// boot returns the machine, or skips the test.
func boot(t *testing.T) *machine {
	t.Helper()
	if os.Getenv(EnvWanted) == "" {
		needtest.SkipAnywhere(t, "boots a machine, as make machine-test does")
	}
	if err := missing(); err != nil {
		needtest.Skip(t, err.Error())
	}
	if !shared.isMain {
		t.Fatal("TestMain of this package does not call machinetest.Main")
	}
	shared.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), bootDeadline())
		defer cancel()
		shared.machine, shared.err = start(ctx)
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.machine
}

// arguments returns those of a test process that runs one test. A slash in a name
// separates a subtest from its test, as it does in the pattern.
func arguments(name string) []string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	return []string{
		"-test.run=" + strings.Join(parts, "/"), "-test.v", "-test.timeout=" + testDeadline().String(),
		fmt.Sprintf("-test.short=%t", testing.Short()),
	}
}

// passedOn returns the variables that also hold inside.
func passedOn() []string {
	var env []string
	for _, name := range []string{"CI", slowtest.EnvFactor} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// An outcome is what the output of "go test -v" says of one test.
type outcome struct {
	name                    string
	passed, failed, skipped bool
	reason                  string // the last line before the test was skipped

	line []byte // the beginning of one that is not complete
}

// read takes the next piece of the output.
func (o *outcome) read(output []byte) {
	o.line = append(o.line, output...)
	for {
		line, rest, complete := strings.Cut(string(o.line), "\n")
		if !complete {
			return
		}
		o.line = []byte(rest)
		switch {
		case strings.Contains(line, "--- PASS: "+o.name+" ("):
			o.passed = true
		case strings.Contains(line, "--- FAIL: "+o.name+" ("):
			o.failed = true
		case strings.Contains(line, "--- SKIP: "+o.name+" ("):
			o.skipped = true
		case !o.skipped:
			o.reason = strings.TrimSpace(line)
		}
	}
}

// errEnded is what is said of a machine that is gone.
var errEnded = errors.New("the machine has ended")
