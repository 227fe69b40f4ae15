package machinetest

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(envProbe); role != "" {
		actProbe(role)
		return
	}
	Main(m)
}

// envAct makes TestAct do inside what the variable says.
const envAct = "PREFORKD_MACHINE_ACT"

func TestAct(t *testing.T) {
	switch os.Getenv(envAct) {
	case "fail":
		t.Error("as it was told")
	case "skip":
		t.Skip("as it was told")
	case "panic":
		panic("as it was told")
	case "leave":
		// A process that outlives the test and has its output open.
		cmd := exec.Command("sleep", "60")
		cmd.Stdout = os.Stdout
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
	}
}

// What happens inside is what is said outside, and ends no machine.
func TestResults(t *testing.T) {
	m := boot(t)
	for _, c := range []struct {
		act      string
		code     int
		contains string
	}{
		{"", 0, "--- PASS: TestAct ("},
		{"fail", 1, "--- FAIL: TestAct ("},
		{"skip", 0, "--- SKIP: TestAct ("},
		{"panic", 2, "panic: as it was told"},
		{"", 0, "--- PASS: TestAct ("},
	} {
		var output bytes.Buffer
		code, err := m.run(command{Args: arguments("TestAct"), Env: []string{envAct + "=" + c.act}}, func(p []byte) { output.Write(p) })
		if err != nil {
			t.Fatal(err)
		}
		if code != c.code || !strings.Contains(output.String(), c.contains) {
			t.Errorf("%q ends with %d, and prints\n%s\nwant %d and %q", c.act, code, &output, c.code, c.contains)
		}
	}
	var output bytes.Buffer
	if _, err := m.run(command{Args: arguments("TestAct"), Env: []string{envAct + "=leave"}}, func(p []byte) { output.Write(p) }); err == nil {
		t.Errorf("a test that has left a process behind has passed:\n%s", &output)
	}
}

// The machine is what the package says.
func TestMachine(t *testing.T) {
	Run(t, func(t *testing.T) {
		var name unix.Utsname
		if err := unix.Uname(&name); err != nil {
			t.Fatal(err)
		}
		if got := unix.ByteSliceToString(name.Release[:]); !strings.HasPrefix(got, "6.12.") {
			t.Errorf("the kernel is %s", got)
		}
		out, err := exec.Command("systemctl", "--version").Output()
		if err != nil || !strings.HasPrefix(string(out), "systemd 257 ") {
			t.Errorf("systemd is %q, %v", out, err)
		}
		if name, err := os.ReadFile("/proc/1/comm"); string(name) != "systemd\n" {
			t.Errorf("pid 1 is %q, %v", name, err)
		}
		var fs unix.Statfs_t
		if err := unix.Statfs("/sys/fs/cgroup", &fs); err != nil || fs.Type != unix.CGROUP2_SUPER_MAGIC {
			t.Errorf("/sys/fs/cgroup is of the type %#x, %v", fs.Type, err)
		}
		lsms, err := os.ReadFile("/sys/kernel/security/lsm")
		for _, lsm := range []string{"landlock", "apparmor"} {
			if !strings.Contains(string(lsms), lsm) {
				t.Errorf("the security modules are %q, %v", lsms, err)
			}
		}
	})
}
