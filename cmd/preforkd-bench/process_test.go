package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/result"
	"github.com/preforkd/preforkd/ipc/needtest"
	"github.com/preforkd/preforkd/ipc/slowtest"
)

// The tests in this file run the program itself: it is this test binary,
// started again with asBench set.
const asBench = "PREFORKD_BENCH_RUN"

func TestMain(m *testing.M) {
	if os.Getenv(asBench) != "" {
		os.Exit(run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// bench returns a command that is this program with a temporary directory of
// its own, so that what it leaves there is found.
func bench(t *testing.T, args ...string) (cmd *exec.Cmd, tmp string) {
	t.Helper()
	tmp = t.TempDir()
	cmd = exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asBench+"=1", "TMPDIR="+tmp)
	return cmd, tmp
}

// empty checks that a run has removed its files.
func empty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("left behind: %s", e.Name())
	}
}

func TestClosedLoopAgainstForkServerAndPeer(t *testing.T) {
	needtest.Program(t, "gcc")
	needtest.Program(t, "tcpserver")
	file := filepath.Join(t.TempDir(), "results.json")
	// A preforkd that does not exist saves building one.
	cmd, tmp := bench(t, "--short", "--scenarios", "closed1,idle", "--servers", "fork-c,tcpserver,preforkd-stdio",
		"--rounds", "2", "--duration", "50ms", "--idle", "20", "--preforkd", "/nonexistent", "--json", file)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	empty(t, tmp)
	if !strings.Contains(out.String(), "preforkd-stdio: left out: ") {
		t.Errorf("the missing server is not named in\n%s", out.String())
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	record, err := result.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	if record.Primitives[result.Spawn] <= 0 || record.Reduce().Primitives[result.Spawn] <= 0 {
		t.Errorf("primitives %v were kept", record.Primitives)
	}
	for _, name := range []string{"fork-c", "tcpserver"} {
		if n := len(record.Values("closed1", name, result.LatencyP50)); n != 2 {
			t.Errorf("%s: %d rounds of latencies, want 2", name, n)
		}
		if errs := record.Errors("closed1", name); len(errs) > 0 {
			t.Errorf("%s: errors %v", name, errs)
		}
		if s := record.Summary("idle", name, result.Served); s.Median != 20 {
			t.Errorf("%s: %v of 20 idle connections served", name, s.Median)
		}
		if s := record.Summary("idle", name, result.Memory); !(s.Median > 0) {
			t.Errorf("%s: %v KiB per connection", name, s.Median)
		}
	}
	for _, command := range []string{"show", "reduce"} {
		cmd, _ := bench(t, command, file)
		if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("fork-c")) {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
	}
}

func TestTargetsMeasureWhatTheyCompare(t *testing.T) {
	needtest.Program(t, "gcc")
	needtest.Program(t, "tcpserver")
	cmd, tmp := bench(t, "--targets", "--scenarios", "closed1,spawn", "--rounds", "1", "--duration", "50ms", "--preforkd", "/nonexistent")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	empty(t, tmp)
	for _, want := range []string{"preforkd-stdio: left out: ", "\n  tcpserver "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
	for _, surplus := range []string{"\n  fork-c ", "\nspawn: "} {
		if strings.Contains(out.String(), surplus) {
			t.Errorf("%q is there, and no target is about it\n%s", surplus, out.String())
		}
	}
}

func TestInterruptStopsServers(t *testing.T) {
	needtest.Program(t, "gcc")
	cmd, tmp := bench(t, "--scenarios", "closed16", "--servers", "fork-c", "--duration", "1m", "--preforkd", "/nonexistent")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The server's directory appears just before the server starts.
	defer cmd.Process.Kill()
	slowtest.Await(t, "a server was started", func() bool {
		found, _ := filepath.Glob(filepath.Join(tmp, "*", "fork-c-*", "output"))
		return len(found) > 0
	})
	cmd.Process.Signal(syscall.SIGINT)
	if err := cmd.Wait(); exitCode(err) != exitInterrupted {
		t.Errorf("%v\n%s", err, out.String())
	}
	empty(t, tmp)
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(commands) == 0 {
		t.Fatalf("no process found: %v", err)
	}
	for _, path := range commands {
		if command, _ := os.ReadFile(path); bytes.Contains(command, []byte(tmp)) {
			t.Errorf("still running: %q", command)
		}
	}
}

// A compiler that is killed removes nothing itself.
func TestInterruptRemovesWhatCompilersLeave(t *testing.T) {
	compilers := t.TempDir()
	script := "#!/bin/sh\n: >\"${TMPDIR:-/tmp}/half.o\"\nexec sleep 1000\n"
	if err := os.WriteFile(filepath.Join(compilers, "gcc"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", compilers+":"+os.Getenv("PATH"))
	cmd, tmp := bench(t, "--scenarios", "closed16", "--servers", "fork-c")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	slowtest.Await(t, "something is being compiled", func() bool {
		here, _ := filepath.Glob(filepath.Join(tmp, "half.o"))
		below, _ := filepath.Glob(filepath.Join(tmp, "*", "half.o"))
		return len(here)+len(below) > 0
	})
	cmd.Process.Signal(syscall.SIGINT)
	if err := cmd.Wait(); exitCode(err) != exitInterrupted {
		t.Error(err)
	}
	empty(t, tmp)
}

func TestUsageErrorsAreOneLine(t *testing.T) {
	for name, args := range map[string][]string{
		"flag":     {"--no-such-flag"},
		"server":   {"--servers", "nginx"},
		"scenario": {"--scenarios", "closed2"},
		"rounds":   {"--rounds", "-3"},
		"idle":     {"--idle", "100000000"},
		"peer":     {"--peer", "nginx"},
		"echo":     {"--echo", "loud"},
		"services": {"--services", "1,10001"},
		"argument": {"surplus"},
		"no file":  {"show"},
	} {
		cmd, tmp := bench(t, args...)
		out, err := cmd.CombinedOutput()
		if exitCode(err) != exitUsage || bytes.Count(out, []byte("\n")) != 1 {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		empty(t, tmp)
	}
}

func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 0
}
