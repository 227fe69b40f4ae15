package unit

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/nspawn"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/result"
)

// The tests in this file run the benchmark.

// command returns a command that is the benchmark with a temporary directory of
// its own. A preforkd that does not exist saves building one.
func command(t *testing.T, args ...string) (cmd *exec.Cmd, tmp string) {
	t.Helper()
	need(t)
	tmp = t.TempDir()
	cmd = exec.Command(bench, append([]string{"--preforkd", "/nonexistent"}, args...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	return cmd, tmp
}

// machineOf is what the name of a benchmark's machine begins with.
func machineOf(cmd *exec.Cmd) string { return fmt.Sprintf("preforkd-machine-%d-", cmd.Process.Pid) }

// nothingLeft checks that no process, file or control group of a run is left.
func nothingLeft(t *testing.T, cmd *exec.Cmd, tmp string) {
	t.Helper()
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(commands) == 0 {
		t.Fatalf("no process found: %v", err)
	}
	for _, path := range commands {
		if command, _ := os.ReadFile(path); bytes.Contains(command, []byte(machineOf(cmd))) {
			t.Errorf("still running: %q", command)
		}
	}
	entries, err := os.ReadDir(tmp)
	if len(entries) > 0 || err != nil {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	// Those of others come and go.
	filepath.WalkDir("/sys/fs/cgroup", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(filepath.Base(path), machineOf(cmd)) {
			t.Errorf("left behind: %s", path)
		}
		return nil
	})
}

func TestUnitsJoinTheComparison(t *testing.T) {
	need(t)
	file := filepath.Join(t.TempDir(), "results.json")
	servers := []string{"systemd-accept", "systemd-sandbox"}
	asked := strings.Join(servers, ",")
	if _, err := exec.LookPath("tcpserver"); err == nil {
		servers = append(servers, "tcpserver")
	}
	cmd, tmp := command(t, "--servers", asked+",tcpserver", "--scenarios", "closed1,idle",
		"--rounds", "2", "--duration", "200ms", "--idle", "20", "--json", file)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	nothingLeft(t, cmd, tmp)
	// One machine for all.
	if n := strings.Count(errs.String(), "booting"); n != 1 {
		t.Errorf("%d boots in\n%s", n, errs.String())
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
	for _, name := range servers {
		if n := len(record.Values("closed1", name, result.LatencyP50)); n != 2 {
			t.Errorf("%s: %d rounds of latencies, want 2", name, n)
		}
		if errs := record.Errors("closed1", name); len(errs) > 0 {
			t.Errorf("%s: errors %v", name, errs)
		}
		for _, m := range []result.Metric{result.CPUMaster, result.CPUWorkers} {
			if s := record.Summary("closed1", name, m); !(s.Median > 0) {
				t.Errorf("%s: %s is %v", name, m, s.Median)
			}
		}
	}
	left := make(map[string]bool)
	for _, m := range record.Missing {
		left[m.Server] = m.Scenario == "idle" && m.Reason != ""
	}
	for _, s := range record.Servers {
		if s.Name != "tcpserver" && (s.Version == "" || !left[s.Name]) {
			t.Errorf("%+v, missing %+v", s, record.Missing)
		}
	}
}

// loaded starts a benchmark and waits until its machine serves connections. It
// returns a pidfd of every process that it has come to.
func loaded(t *testing.T, cmd *exec.Cmd) map[int]int {
	t.Helper()
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Log(errs.String())
		}
	})
	await(t, "under load", func() bool { return len(workers(cmd.Process.Pid)) > 0 })
	fds := make(map[int]int)
	for _, pid := range below(cmd.Process.Pid) {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil { // or it has ended already
			fds[pid] = fd
			t.Cleanup(func() { unix.Close(fd) })
		}
	}
	return fds
}

// ended checks that processes end.
func ended(t *testing.T, fds map[int]int) {
	t.Helper()
	for pid, fd := range fds {
		await(t, "without process "+strconv.Itoa(pid), func() bool {
			// A pidfd is readable when the process has ended.
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			return n == 1 && err == nil
		})
	}
}

func TestInterruptTakesTheMachineDown(t *testing.T) {
	cmd, tmp := command(t, "--scenarios", "closed1", "--servers", "systemd-accept", "--duration", "1m")
	fds := loaded(t, cmd)
	cmd.Process.Signal(unix.SIGINT)
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	ended(t, fds)
	nothingLeft(t, cmd, tmp)
}

// A benchmark that is killed can remove nothing, but all its processes end.
func TestKillTakesTheMachineDown(t *testing.T) {
	cmd, _ := command(t, "--scenarios", "closed1", "--servers", "systemd-accept", "--duration", "1m")
	fds := loaded(t, cmd)
	cmd.Process.Kill()
	ended(t, fds)
	cmd.Wait()
	// Processes that have come since then may be about to end.
	await(t, "without control groups", func() bool { return nspawn.RemoveGroups(machineOf(cmd)+"1") == nil })
}
