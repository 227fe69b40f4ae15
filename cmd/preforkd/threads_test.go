package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// The number of threads does not depend on the number of listeners, and hardly
// on that of processors.
func TestThreadsAreBounded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		services, listeners int // listeners of each service
	}{{1, 80}, {5000, 1}} {
		t.Run(fmt.Sprintf("%d services with %d listeners", c.services, c.listeners), func(t *testing.T) {
			t.Parallel()
			needDescriptors(t, uint64(c.services*c.listeners+200))
			var text strings.Builder
			for i := range c.services {
				fmt.Fprintf(&text, "[service.s%d]\nlisten = [%s]\nprogram = ['/bin/cat']\n",
					i, strings.Repeat("'127.0.0.1:0', ", c.listeners))
			}
			m := systest.Options{Config: text.String(), Listeners: c.services * c.listeners, Env: []string{"GOMAXPROCS=128"}}.Start(t)
			if n := systest.ReadStatus(m.PID).Threads; n > 300 {
				t.Errorf("%d threads", n)
			}
			before := systest.ReadStatus(m.PID).Threads
			for _, i := range []int{0, len(m.Listeners) / 2, len(m.Listeners) - 1} {
				client := m.DialTo(t, m.Listeners[i].Network, m.Listeners[i].Address)
				client.Echo(t, "hello")
				client.Close()
				client.End(t)
			}
			for _, client := range m.DialAll(t, 40) {
				client.Echo(t, "at once")
				client.Close()
				client.End(t)
			}
			if c.services > 1 {
				m.Baseline(t) // their listeners have moved, but for those that were used
			}
			if n := systest.ReadStatus(m.PID).Threads; n > before {
				t.Errorf("%d threads after the first connections, %d before", n, before)
			}
		})
	}
}

// needDescriptors skips a test where this process may not have so many
// descriptors, nor a master that it starts.
func needDescriptors(t *testing.T, n uint64) {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Max < n {
		systest.Skip(t, fmt.Sprintf("needs %d descriptors, RLIMIT_NOFILE is %d", n, limit.Max))
	}
}

// A limit that does not leave room for the master's threads is one line at the
// start, whatever it is, and not the end of the runtime. One that does is none.
func TestTooFewThreads(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t) // to become a user that owns nothing else; root is exempt from the limit
	prlimit := systest.Need(t, "prlimit")
	refused, started := 0, 0
	// Below some ten Go does not come to execute the first line of a program.
	for limit := 12; limit < 400 && started < 3; limit += 1 + limit/10 {
		user := uint32(1_100_000 + 400*(os.Getpid()%1000) + limit)
		cmd := exec.Command(prlimit, fmt.Sprintf("--nproc=%d", limit),
			systest.Preforkd(t), "serve", "--listen", "127.0.0.1:0", "--control", "none", "--log-format", "json", "--", "/bin/cat")
		cmd.Env = bareEnvironment(t)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
		var out bytes.Buffer
		stderr, err := cmd.StderrPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(systest.Deadline(), func() { cmd.Process.Kill() })
		buf := make([]byte, 4096)
		for {
			n, err := stderr.Read(buf)
			out.Write(buf[:n])
			if bytes.Contains(out.Bytes(), []byte(`"listening"`)) {
				cmd.Process.Signal(syscall.SIGTERM)
			}
			if err != nil {
				break
			}
		}
		err = cmd.Wait()
		timer.Stop()
		text := out.String()
		if err == nil {
			started++
			continue
		}
		refused++
		exit, _ := errors.AsType[*exec.ExitError](err)
		if exit == nil || exit.ExitCode() != 1 || started > 0 {
			t.Errorf("limit %d, %d starts with less: %v\n%s", limit, started, err, text)
			continue
		}
		oneLine(t, text)
		if !strings.Contains(text, fmt.Sprintf("RLIMIT_NPROC is %d", limit)) {
			t.Errorf("limit %d: %s", limit, text)
		}
	}
	t.Logf("%d refused, %d started", refused, started)
	if refused < 3 || started < 3 {
		t.Errorf("%d limits were too small, %d were not", refused, started)
	}
}

// A cgroup that does not leave room is named.
func TestTooFewThreadsInCgroup(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	dir := pidsCgroup(t, 20)
	script := `echo $$ >` + dir + `/cgroup.procs && exec "$@"`
	cmd := exec.Command("/bin/sh", append([]string{"-c", script, "sh", systest.Preforkd(t), "serve", "--listen", "127.0.0.1:0", "--control", "none", "--"}, "/bin/cat")...)
	cmd.Env = bareEnvironment(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	if exit, _ := errors.AsType[*exec.ExitError](err); exit == nil || exit.ExitCode() != 1 {
		t.Errorf("%v\n%s", err, stderr.Bytes())
	}
	oneLine(t, stderr.String())
	if !strings.Contains(stderr.String(), "pids.max of the cgroup "+dir+" is 20") {
		t.Errorf("%s", stderr.Bytes())
	}
}

// bareEnvironment returns what the instrumentation of the programs needs.
func bareEnvironment(t *testing.T) []string {
	t.Helper()
	dir := systest.Dir(t)
	if err := os.Chmod(dir, 0o777); err != nil { // for users of all kinds
		t.Fatal(err)
	}
	return []string{"GOCOVERDIR=" + dir, "GORACE=atexit_sleep_ms=0"}
}

// pidsCgroup makes a cgroup with a limit of processes below this process's own,
// where the system lets it.
func pidsCgroup(t *testing.T, limit int) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	parent := ""
	for line := range strings.Lines(string(text)) {
		switch fields := strings.SplitN(strings.TrimSpace(line), ":", 3); {
		case len(fields) == 3 && fields[1] == "pids":
			parent = "/sys/fs/cgroup/pids" + fields[2]
		case len(fields) == 3 && fields[0] == "0" && parent == "":
			parent = "/sys/fs/cgroup" + fields[2]
		}
	}
	dir := strings.TrimSuffix(parent, "/") + fmt.Sprintf("/preforkd-test-%d", os.Getpid())
	if err := os.Mkdir(dir, 0o755); err != nil {
		systest.Skip(t, "makes a cgroup: "+err.Error())
	}
	t.Cleanup(func() {
		systest.Until(t, "an empty cgroup", func() bool { return os.Remove(dir) == nil }, nil)
	})
	if err := os.WriteFile(dir+"/pids.max", fmt.Append(nil, limit), 0o644); err != nil {
		systest.Skip(t, "limits a cgroup: "+err.Error())
	}
	return dir
}

// A program whose file system does not answer is told once and shown as a
// problem. It holds up nobody else, and goes on when the file system does.
func TestProgramThatHangs(t *testing.T) {
	t.Parallel()
	strace := systest.Need(t, "strace")
	dir := systest.Dir(t)
	dead := dir + "/cat"
	copyFile(t, "/bin/cat", dead)
	m := systest.Options{
		// -D leaves the master the process that the test started.
		Wrap: []string{strace, "-D", "-f", "-qq", "-o", dir + "/trace", "-P", dead,
			"-e", "trace=openat", "-e", "inject=openat:delay_enter=9000000:when=1..40"},
		Config: "[service.dead]\nlisten = ['127.0.0.1:0']\nprogram = ['" + dead + "']\n" +
			"[service.live]\nlisten = ['127.0.0.1:0']\nprogram = ['/bin/cat']\n",
		Listeners: 2,
	}.Start(t)
	dial := func(service string) *systest.Client {
		for _, l := range m.Listeners {
			if l.Service == service {
				return m.DialTo(t, l.Network, l.Address)
			}
		}
		t.Fatalf("no listener of %s", service)
		return nil
	}
	first := dial("dead")
	stalled := m.WaitFor(t, systest.Is("spawn stalled"))
	if !strings.Contains(stalled.Line, dead) || stalled.Level != "warn" {
		t.Errorf("%s", stalled.Line)
	}
	for range 20 {
		c := dial("live")
		c.Echo(t, "hello")
		c.Close()
	}
	if status := told(t, m, "status", "--json"); !strings.Contains(status, "starts of "+dead+" hang") {
		t.Errorf("the status does not say that starts hang:\n%s", status)
	}
	first.Echo(t, "at last")
	first.Close()
	m.WaitFor(t, systest.Is("spawn resumed"))
	if n := len(m.Events(systest.Is("spawn stalled"))); n != 1 {
		t.Errorf("told %d times", n)
	}
}
