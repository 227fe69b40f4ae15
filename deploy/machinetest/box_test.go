package machinetest

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const boxConf = dropIns + "box.conf"

// maxBoxExposure is ten times the figure of "systemd-analyze security" for the unit
// with box.conf, as its --threshold takes it.
const maxBoxExposure = "37"

func TestBoxDropIn(t *testing.T) {
	Run(t, func(t *testing.T) {
		startService(t, "box.conf")
		dialEcho(t)
		run(t, "systemctl", "reload", unit)
		dialEcho(t)

		// The master stands beside the groups of its connections.
		group, err := os.ReadFile("/proc/" + show(t, "MainPID") + "/cgroup")
		if err != nil || string(group) != "0::/system.slice/preforkd.service/master\n" {
			t.Errorf("the master is in %q, %v", group, err)
		}
		// Its rights are no worker's.
		pids := workers(t)
		if len(pids) == 0 {
			t.Error("there is no worker")
		}
		for _, pid := range pids {
			status, err := os.ReadFile("/proc/" + pid + "/status")
			for _, set := range []string{"CapPrm", "CapEff", "CapAmb"} {
				if err != nil || !strings.Contains(string(status), set+":\t0000000000000000\n") {
					t.Fatalf("a worker has rights of the master's: %v\n%s", err, status)
				}
			}
		}

		for line := range strings.Lines(run(t, "systemd-analyze", "verify", "--man=no", unit)) {
			if strings.Contains(line, "preforkd") {
				t.Error(line)
			}
		}
		lines := strings.Split(strings.TrimSpace(run(t, "systemd-analyze", "security", "--no-pager", "--threshold="+maxBoxExposure, unit)), "\n")
		t.Log(lines[len(lines)-1])
	})
}

// needed has, for every line of box.conf, the steps of the probe that fail without it.
// A list of capabilities or system calls counts as a line for each of its words.
var needed = map[string][]string{
	"Delegate=yes":            {"enable controllers"},
	"DelegateSubgroup=master": {"enable controllers"},
	"ProtectControlGroups=no": {"enable controllers"},
	"RestrictNamespaces=no":   {"start in namespaces"},
	"SystemCallFilter=@mount": {"mount"},
	"RestrictSUIDSGID=no":     {"open below a root"},
	"ProtectProc=default":     {"see a worker of another user"},
	"CAP_SYS_ADMIN":           {"start in namespaces", "mount"},
	"CAP_SYS_CHROOT":          {"enter namespaces"},
	"CAP_SETUID":              {"start as another user"},
	"CAP_SETGID":              {"start as another user"},
	"CAP_SETPCAP":             {"give up rights"},
	"CAP_KILL":                {"end a worker of another user"},
}

// TestBoxNeedsLines shows that box.conf allows what a box does, and that each line is
// needed for it: the probe does as the mechanism does, in the unit with the drop-in,
// and in the unit with the drop-in less one line.
func TestBoxNeedsLines(t *testing.T) {
	Run(t, func(t *testing.T) {
		text, err := os.ReadFile(boxConf)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := words(string(text)), slices.Sorted(maps.Keys(needed)); !slices.Equal(got, want) {
			t.Fatalf("the lines of box.conf are\n%q, known are\n%q", got, want)
		}
		variants := map[string]*variant{"": newVariant(t, "boxprobe", string(text))}
		for word := range needed {
			variants[word] = newVariant(t, fmt.Sprintf("boxprobe-%d", len(variants)), without(string(text), word))
		}
		none := newVariant(t, "boxprobe-none", "")
		all := append(slices.Collect(maps.Values(variants)), none)
		start := []string{"start"}
		for _, v := range all {
			start = append(start, v.unit)
		}
		run(t, "systemctl", "daemon-reload")
		run(t, "systemctl", start...)
		for _, v := range all {
			v.read(t)
		}

		for step, result := range variants[""].results {
			if result != "ok" {
				t.Errorf("with box.conf, %s: %s", step, result)
			}
		}
		for word, steps := range needed {
			for _, step := range steps {
				if result := variants[word].results[step]; result == "ok" || result == "" {
					t.Errorf("without %s, %s: %q", word, step, result)
				} else {
					t.Logf("without %s, %s: %s", word, step, result)
				}
			}
		}
		// Nothing is allowed by the unit alone.
		for step, result := range none.results {
			if result == "ok" {
				t.Errorf("without box.conf, %s: ok", step)
			}
		}
	})
}

// words returns the lines of a drop-in, and in place of a list of capabilities the
// words of that, each once.
func words(text string) []string {
	seen := map[string]bool{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if key, value, _ := strings.Cut(line, "="); key == "CapabilityBoundingSet" || key == "AmbientCapabilities" {
			for _, capability := range strings.Fields(value) {
				seen[capability] = true
			}
		} else if line != "" && line[0] != '#' && line[0] != '[' {
			seen[line] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// without returns a drop-in without a line, or without a capability.
func without(text, word string) string {
	var kept []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == word {
			continue
		}
		if strings.HasPrefix(word, "CAP_") {
			line = strings.ReplaceAll(strings.ReplaceAll(line, " "+word, ""), "="+word, "=")
		}
		kept = append(kept, line)
	}
	return strings.Join(kept, "")
}

// A variant is the unit, with a drop-in, and with the probe in the place of preforkd.
type variant struct {
	unit, output string
	results      map[string]string // by the step
}

func newVariant(t *testing.T, name, conf string) *variant {
	t.Helper()
	v := &variant{unit: name + ".service", output: "/run/" + name + ".out"}
	text, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	path := "/run/systemd/system/" + v.unit
	write(t, path, string(text))
	write(t, path+".d/10-box.conf", conf)
	write(t, path+".d/20-probe.conf", `[Service]
Type=oneshot
ExecStart=
ExecStart=/opt/test
ExecReload=
Restart=no
WatchdogSec=0
Environment=`+envProbe+`=probe
StandardOutput=truncate:`+v.output+`
`)
	t.Cleanup(func() {
		if t.Failed() {
			journal, _ := exec.Command("journalctl", "--no-pager", "--boot", "--unit="+v.unit).CombinedOutput()
			t.Logf("the journal:\n%s", journal)
		}
		for _, path := range []string{path, path + ".d", v.output} {
			if err := os.RemoveAll(path); err != nil {
				t.Error(err)
			}
		}
	})
	return v
}

// read reads the results of a probe that has ended.
func (v *variant) read(t *testing.T) {
	t.Helper()
	output, err := os.ReadFile(v.output)
	if err != nil {
		t.Fatal(err)
	}
	v.results = map[string]string{}
	for line := range strings.Lines(string(output)) {
		step, result, _ := strings.Cut(strings.TrimSpace(line), ": ")
		v.results[step] = result
	}
	for _, s := range steps {
		if v.results[s.name] == "" {
			t.Fatalf("%s: the probe says nothing of %q:\n%s", v.unit, s.name, output)
		}
	}
}

// boxed is a service in a strict box. Its program prints its user, its capabilities and
// the processes that it sees, and then echoes.
const boxed = `
[service.echo]
listen          = ["127.0.0.1:7007"]
program         = ["/bin/sh", "-c", "id -u; grep ^CapBnd /proc/self/status; echo /proc/[0-9]*; exec cat"]
max-connections = 20

[service.echo.box]
preset = "strict"
`

// TestBox shows that the unit with the drop-in has all that a strict box asks for.
func TestBox(t *testing.T) {
	Run(t, func(t *testing.T) {
		configure(t, boxed)
		startService(t, "box.conf")
		users := map[string]bool{}
		for range 3 {
			c := dial(t)
			lines := bufio.NewReader(c)
			var said [3]string
			for i := range said {
				line, err := lines.ReadString('\n')
				if err != nil {
					t.Fatalf("the program has said %q, then: %v", said, err)
				}
				said[i] = strings.TrimSpace(line)
			}
			t.Logf("a program says %q", said)
			uid, err := strconv.Atoi(said[0])
			if err != nil || uid < 61184 || uid > 61439 || users[said[0]] {
				t.Errorf("the user is %q, others are %v", said[0], users)
			}
			users[said[0]] = true
			if said[1] != "CapBnd:\t0000000000000000" {
				t.Errorf("the program could have capabilities: %q", said[1])
			}
			// With two processes of its own, pid 1 of its box, and the glob itself.
			if pids := strings.Fields(said[2]); len(pids) > 4 {
				t.Errorf("the program sees %q", pids)
			}
			if _, err := io.WriteString(c, "hello\n"); err != nil {
				t.Fatal(err)
			}
			if line, err := lines.ReadString('\n'); line != "hello\n" {
				t.Errorf("the echo is %q, %v", line, err)
			}
		}
		run(t, "systemctl", "reload", unit)
	})
}

// TestHandlerBox shows that a built-in handler has its default box in the unit with the
// drop-in, and that the unit without it serves all the same, and says what it lacks.
func TestHandlerBox(t *testing.T) {
	Run(t, func(t *testing.T) {
		configure(t, "[service.echo]\nlisten = [\"127.0.0.1:7007\"]\nhandler = \"echo\"\n")
		for name, dropIns := range map[string][]string{"without": nil, "with": {"box.conf"}} {
			t.Run(name, func(t *testing.T) {
				startService(t, dropIns...)
				dialEcho(t)
				invocation := "_SYSTEMD_INVOCATION_ID=" + show(t, "InvocationID")
				events, _ := exec.Command("journalctl", "--no-pager", "--output=json", invocation, "PREFORKD_EVENT=box incomplete").Output()
				worker := run(t, "cat", "/proc/"+workers(t)[0]+"/status")
				uid := -1
				if _, text, found := strings.Cut(worker, "Uid:\t"); found {
					fmt.Sscan(text, &uid)
				}
				if own := uid >= 61440 && uid <= 65519; own != (name == "with") {
					t.Errorf("the worker's user is %d", uid)
				}
				if lines := strings.Count(string(events), "\n"); (lines == 1) != (name == "without") || lines > 1 {
					t.Errorf("the journal says %d times that a box is incomplete:\n%s", lines, events)
				}
				if name == "without" && !strings.Contains(string(events), "dynamic-user: needs CAP_SETUID and CAP_SETGID") {
					t.Errorf("the journal has %s", events)
				}
			})
		}
	})
}

// limited is a service whose connections have limits of a cgroup. Its program runs what
// it reads.
const limited = `
[service.echo]
listen          = ["127.0.0.1:7007"]
program         = ["/bin/sh", "-c", 'read -r line; eval "$line"']
max-connections = 20

[service.echo.box]
preset             = "strict"
memory-max         = "24M"
memory-swap-max    = "0"
tasks-max          = 8
cpu-quota          = "50%"
service-memory-max = "200M"
service-tasks-max  = 100
`

// basic is a service whose boxes have a cgroup and no pid namespace.
var basic = strings.Replace(limited, `"strict"`, `"basic"`, 1)

// TestBoxWithoutPIDs shows that nothing leaves the cgroup of a connection, whatever its
// session, parent and environment.
func TestBoxWithoutPIDs(t *testing.T) {
	Run(t, func(t *testing.T) {
		configure(t, basic)
		startService(t, "box.conf")
		for n, c := range []struct{ script, want string }{
			{"env -i setsid sh -c 'sleep 1000 & sleep 1001 &' >&2 & echo left", `"PREFORKD_LEFTOVERS":"`},
			{"head -c 100M /dev/zero | tail -c 100M >/dev/null", `"PREFORKD_LIMIT":"memory"`},
			{"sleep 0.1; echo fine", `"PREFORKD_EXIT_CODE":"0"`},
		} {
			conn := dial(t)
			if _, err := io.WriteString(conn, c.script+"\n"); err != nil {
				t.Fatal(err)
			}
			answer, _ := io.ReadAll(conn)
			t.Logf("%s: %q", c.script, answer)
			awaitReaped(t, n, c.want)
		}
		if out, err := exec.Command("pgrep", "-x", "sleep").Output(); err == nil {
			t.Errorf("there are left: %s", out)
		}
	})
}

// awaitReaped waits until the event of a connection's end has something, and what has
// been used. n is how many connections have ended before.
func awaitReaped(t *testing.T, n int, want string) {
	t.Helper()
	var last string
	defer func() {
		if t.Failed() {
			t.Logf("the last connection's end: %s", last)
		}
	}()
	waitFor(t, want, func() bool {
		lines := strings.Split(strings.TrimSpace(run(t, "journalctl", "--no-pager", "--boot", "--output=json", "--unit="+unit, "PREFORKD_EVENT=reaped")), "\n")
		last = lines[len(lines)-1]
		return len(lines) > n && strings.Contains(last, want) &&
			strings.Contains(last, "PREFORKD_MEMORY_PEAK") && strings.Contains(last, "PREFORKD_CPU_TIME")
	})
}

// TestBoxLimits shows that the limits of a cgroup hold in a box under the unit, that the
// log tells which was met, and that no cgroup is left of connections or of the service.
func TestBoxLimits(t *testing.T) {
	Run(t, func(t *testing.T) {
		configure(t, limited)
		startService(t, "box.conf")
		group := "/sys/fs/cgroup" + show(t, "ControlGroup")
		for n, c := range []struct{ script, want string }{
			{"echo fine", `"PREFORKD_EXIT_CODE":"0"`},
			{"head -c 100M /dev/zero | tail -c 100M >/dev/null", `"PREFORKD_LIMIT":"memory"`},
			{"for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1 & done; wait", `"PREFORKD_LIMIT":"tasks"`},
			{"echo fine again", `"PREFORKD_EXIT_CODE":"0"`},
			{"setsid sleep 1000 & echo left", `"PREFORKD_LEFTOVERS":"1"`},
		} {
			conn := dial(t)
			if _, err := io.WriteString(conn, c.script+"\n"); err != nil {
				t.Fatal(err)
			}
			answer, _ := io.ReadAll(conn) // that of a program which was killed may be a reset
			t.Logf("%s: %q", c.script, answer)
			awaitReaped(t, n, c.want)
		}
		waitFor(t, "no process is left in the cgroup of the service", func() bool {
			events, err := os.ReadFile(group + "/service-echo/cgroup.events")
			return err == nil && strings.Contains(string(events), "populated 0")
		})
		run(t, "systemctl", "stop", unit)
		if _, err := os.Stat(group); !os.IsNotExist(err) {
			t.Errorf("the cgroup of the unit is left: %v", err)
		}
	})
}

// waitFor waits until something is so.
func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline()); !is(); time.Sleep(300 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still not: %s", what)
		}
	}
}
